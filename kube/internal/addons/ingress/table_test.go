package ingress

import (
	"slices"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

const manifests = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, namespace: a, creationTimestamp: "2026-01-02T00:00:00Z"}
spec:
  defaultBackend: {service: {name: other, port: {number: 80}}}
  rules:
  - host: Shop.example
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}
      - {path: /api, pathType: Prefix, backend: {service: {name: api, port: {number: 80}}}}
      - {path: /api, pathType: Exact, backend: {service: {name: exact, port: {number: 80}}}}
      - {path: /api/v2/, pathType: ImplementationSpecific, backend: {service: {name: v2, port: {number: 80}}}}
  - host: "*.shop.example"
    http:
      paths: [{path: /, pathType: Prefix, backend: {service: {name: stars, port: {number: 80}}}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: late, namespace: a, creationTimestamp: "2026-01-03T00:00:00Z"}
spec:
  rules:
  - host: shop.example
    http:
      paths: [{path: /, pathType: Prefix, backend: {service: {name: late, port: {number: 80}}}}]
  - http:
      paths: [{path: /any, pathType: Prefix, backend: {service: {name: any, port: {number: 80}}}}]
`

func parse(t *testing.T, text string) []*networking.Ingress {
	t.Helper()
	var out []*networking.Ingress
	for _, document := range strings.Split(text, "\n---\n") {
		i := &networking.Ingress{}
		if err := yaml.UnmarshalStrict([]byte(document), i); err != nil {
			t.Fatal(err)
		}
		out = append(out, i)
	}
	return out
}

func TestFind(t *testing.T) {
	table := tableOf(objects{ingresses: parse(t, manifests)})
	for _, c := range []struct{ host, path, want string }{
		{"shop.example", "/", "a/web"},
		{"SHOP.example:8443", "/x", "a/web"},
		{"shop.example.", "/x", "a/web"},
		{"shop.example", "/api", "a/exact"},
		{"shop.example", "/api/", "a/api"},
		{"shop.example", "/apis", "a/web"},
		{"shop.example", "/api/v2", "a/v2"},
		{"shop.example", "/api/v2/x", "a/v2"},
		{"eu.shop.example", "/", "a/stars"},
		{"x.eu.shop.example", "/", "a/other"},
		{"elsewhere", "/any/x", "a/any"},
		{"elsewhere", "/", "a/other"},
	} {
		if b := table.find(c.host, c.path); b == nil || b.service != c.want {
			t.Errorf("%s%s: got %v, want %s", c.host, c.path, b, c.want)
		}
	}
	if got := table.hosts(); !slices.Equal(got, []string{"*.shop.example", "shop.example"}) {
		t.Errorf("hosts %v", got)
	}
	empty := tableOf(objects{})
	if b := empty.find("shop.example", "/"); b != nil {
		t.Errorf("without any Ingress: %v", b)
	}
}

func TestEndpoints(t *testing.T) {
	no, http, other, port := false, "http", "other", int32(8080)
	o := objects{
		services: []*core.Service{
			{ObjectMeta: meta.ObjectMeta{Namespace: "a", Name: "web"}, Spec: core.ServiceSpec{Ports: []core.ServicePort{{Name: "other", Port: 81}, {Name: "http", Port: 80}}}},
			{ObjectMeta: meta.ObjectMeta{Namespace: "a", Name: "away"}, Spec: core.ServiceSpec{Type: core.ServiceTypeExternalName, ExternalName: "169.254.169.254"}},
		},
		slices: []*discovery.EndpointSlice{{
			ObjectMeta: meta.ObjectMeta{Namespace: "a", Name: "web-x", Labels: map[string]string{discovery.LabelServiceName: "web"}},
			Ports:      []discovery.EndpointPort{{Name: &other, Port: new(int32(9))}, {Name: &http, Port: &port}},
			Endpoints: []discovery.Endpoint{
				{Addresses: []string{"10.244.0.7"}},
				{Addresses: []string{"10.244.0.8"}, Conditions: discovery.EndpointConditions{Ready: &no}},
			},
		}},
	}
	backend := func(service string, port networking.ServiceBackendPort) backend {
		return o.backend("a", networking.IngressBackend{Service: &networking.IngressServiceBackend{Name: service, Port: port}})
	}
	for _, port := range []networking.ServiceBackendPort{{Number: 80}, {Name: "http"}} {
		if b := backend("web", port); !slices.Equal(b.endpoints, []string{"10.244.0.7:8080"}) {
			t.Errorf("port %v: %v", port, b)
		}
	}
	for want, b := range map[string]backendOf{
		"it has no port 82": {"web", networking.ServiceBackendPort{Number: 82}}, "there is no such Service": {"nosuch", networking.ServiceBackendPort{Number: 80}},
		"it is of type ExternalName, which an Ingress does not lead to here": {"away", networking.ServiceBackendPort{Number: 80}},
	} {
		if got := backend(b.service, b.port); got.problem != want || got.endpoints != nil {
			t.Errorf("%v: got %v, want %s", b, got, want)
		}
	}
}

type backendOf struct {
	service string
	port    networking.ServiceBackendPort
}

func TestIsOurs(t *testing.T) {
	class := func(name, controller string) *networking.IngressClass {
		return &networking.IngressClass{ObjectMeta: meta.ObjectMeta{Name: name}, Spec: networking.IngressClassSpec{Controller: controller}}
	}
	classes := []*networking.IngressClass{class(ownClass, controller), class("nginx", "k8s.io/ingress-nginx")}
	for name, want := range map[string]bool{ownClass: true, "nginx": false, "nosuch": false} {
		byField := &networking.Ingress{Spec: networking.IngressSpec{IngressClassName: &name}}
		byAnnotation := &networking.Ingress{ObjectMeta: meta.ObjectMeta{Annotations: map[string]string{annotationClass: name}}}
		if isOurs(byField, classes) != want || isOurs(byAnnotation, classes) != want {
			t.Errorf("class %s: want %v", name, want)
		}
	}
	if !isOurs(&networking.Ingress{}, classes) {
		t.Error("an Ingress without a class is nobody's")
	}
}
