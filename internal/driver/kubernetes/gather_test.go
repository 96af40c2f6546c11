package kubernetes_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"fairlead.dev/internal/driver/kubernetes"
	"fairlead.dev/internal/explain/evidence"
	"fairlead.dev/internal/secret"
)

const image = "myacr.azurecr.io/app:v1"

var labels = map[string]string{"app": "web"}

func meta(name string, owner ...metav1.OwnerReference) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: "team", UID: types.UID("uid-" + name), Labels: labels, OwnerReferences: owner}
}

func ownedBy(kind, name string) metav1.OwnerReference {
	return metav1.OwnerReference{Kind: kind, Name: name, UID: types.UID("uid-" + name), Controller: new(true)}
}

func pod(name string, owner ...metav1.OwnerReference) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: meta(name, owner...),
		Spec: corev1.PodSpec{
			NodeName: "node0", ServiceAccountName: "default", ImagePullSecrets: []corev1.LocalObjectReference{{Name: "regcred"}, {Name: ""}, {Name: "gone"}},
			InitContainers: []corev1.Container{{Name: "prepare", Image: image, ImagePullPolicy: corev1.PullIfNotPresent}},
			Containers:     []corev1.Container{{Name: "app", Image: image, ImagePullPolicy: corev1.PullAlways}},
		},
		Status: corev1.PodStatus{
			Phase: corev1.PodPending,
			InitContainerStatuses: []corev1.ContainerStatus{{Name: "prepare", State: corev1.ContainerState{
				Terminated: &corev1.ContainerStateTerminated{Reason: "Completed"},
			}}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "app", RestartCount: 2, State: corev1.ContainerState{
				Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "Back-off pulling image"},
			}}},
		},
	}
}

// cluster is a Deployment of two replicas, its old ReplicaSet, and what is around them.
func cluster() []runtime.Object {
	selector := &metav1.LabelSelector{MatchLabels: labels}
	replicaSet := func(name, revision string) *appsv1.ReplicaSet {
		r := &appsv1.ReplicaSet{ObjectMeta: meta(name, ownedBy("Deployment", "web")), Spec: appsv1.ReplicaSetSpec{Selector: selector}}
		r.Annotations = map[string]string{"deployment.kubernetes.io/revision": revision}
		return r
	}
	pull := func(namespace, name string, kind corev1.SecretType, host string) *corev1.Secret {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Type: kind}
		s.Data = map[string][]byte{".dockerconfigjson": []byte(`{"auths":{"` + host + `":{"username":"u","password":"for-` + host + `"}}}`)}
		return s
	}
	running := pod("web-old-1", ownedBy("ReplicaSet", "web-old"))
	start := metav1.NewTime(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))
	return []runtime.Object{
		&appsv1.Deployment{ObjectMeta: meta("web"), Spec: appsv1.DeploymentSpec{Selector: selector}},
		&appsv1.Deployment{ObjectMeta: meta("idle"), Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "idle"}}, Replicas: new(int32(0))}},
		replicaSet("web-old", "9"), replicaSet("web-new", "10"),
		pod("web-new-b", ownedBy("ReplicaSet", "web-new")), pod("web-new-a", ownedBy("ReplicaSet", "web-new")), running, pod("bare"),
		&batchv1.Job{ObjectMeta: meta("task"), Spec: batchv1.JobSpec{Selector: selector}}, pod("task-1", ownedBy("Job", "task")),
		&corev1.ServiceAccount{
			ObjectMeta:       metav1.ObjectMeta{Name: "default", Namespace: "team", Annotations: map[string]string{"azure.workload.identity/client-id": "id", "note": "not of use"}},
			ImagePullSecrets: []corev1.LocalObjectReference{{Name: "later"}},
		},
		pull("team", "regcred", corev1.SecretTypeDockerConfigJson, "myacr.azurecr.io"), pull("team", "later", "Opaque", "myacr.azurecr.io"),
		pull("team", "spare", corev1.SecretTypeDockerConfigJson, "other.azurecr.io"), pull("default", "gone", corev1.SecretTypeDockerConfigJson, "myacr.azurecr.io"),
		pull("team", "tls", "kubernetes.io/tls", "myacr.azurecr.io"),
		&corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "node0"}, Spec: corev1.NodeSpec{ProviderID: "azure:///subscriptions/s"},
			Status: corev1.NodeStatus{
				NodeInfo: corev1.NodeSystemInfo{OperatingSystem: "linux", Architecture: "arm64"},
				Images:   []corev1.ContainerImage{{Names: []string{"myacr.azurecr.io/app:v1", "docker.io/library/other:v2"}}},
			},
		},
		&corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: "e1", Namespace: "team"}, InvolvedObject: corev1.ObjectReference{Kind: "Pod", UID: "uid-web-new-a"},
			Reason: "Failed", Message: "Error: ErrImagePull", Count: 3, FirstTimestamp: start, LastTimestamp: metav1.NewTime(start.Add(time.Minute)),
		},
		&corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: "e2", Namespace: "team"}, InvolvedObject: corev1.ObjectReference{Kind: "Pod", UID: "uid-web-new-a"},
			Reason: "Scheduled", EventTime: metav1.NewMicroTime(start.Time),
		},
	}
}

// same compares secrets by what they are.
var same = cmp.Comparer(func(a, b secret.Text) bool { return a.Reveal() == b.Reveal() })

func TestGatherDeployment(t *testing.T) {
	e, err := kubernetes.Gather(t.Context(), fake.NewClientset(cluster()...), "team", evidence.Object{Kind: "Deployment", Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	podOf := func(name string, events ...evidence.Event) evidence.Pod {
		return evidence.Pod{
			Name: name, Node: "node0", Account: "default", PullSecrets: []string{"regcred", "gone"}, Events: events,
			Containers: []evidence.Container{
				{Name: "prepare", Image: image, Policy: "IfNotPresent", Init: true, Ended: true, Reason: "Completed"},
				{Name: "app", Image: image, Policy: "Always", Reason: "ImagePullBackOff", Message: "Back-off pulling image", Restarts: 2},
			},
		}
	}
	login := func(host, password string) []evidence.Entry {
		return []evidence.Entry{{Server: host, Username: "u", Password: secret.New(password)}}
	}
	want := evidence.Evidence{
		Namespace: "team", Asked: evidence.Object{Kind: "Deployment", Name: "web"}, Controller: evidence.Object{Kind: "Deployment", Name: "web"},
		Pods: []evidence.Pod{
			podOf("web-new-a", evidence.Event{Reason: "Scheduled", Count: 1, First: start, Last: start},
				evidence.Event{Reason: "Failed", Message: "Error: ErrImagePull", Count: 3, First: start, Last: start.Add(time.Minute)}),
			podOf("web-new-b"),
		},
		Accounts: []evidence.Account{{
			Name: "default", State: evidence.Found, PullSecrets: []string{"later"}, Annotations: map[string]string{"azure.workload.identity/client-id": "id"},
		}},
		Secrets: []evidence.Secret{
			{Name: "gone", State: evidence.Absent, Elsewhere: []string{"default"}},
			{
				Name: "later", State: evidence.Found, Type: "Opaque", Key: ".dockerconfigjson", Entries: login("myacr.azurecr.io", "for-myacr.azurecr.io"),
				Broken: "its type is Opaque, and the kubelet passes over every type but kubernetes.io/dockerconfigjson",
			},
			{Name: "regcred", State: evidence.Found, Type: evidence.TypeDockerConfigJSON, Key: ".dockerconfigjson", Entries: login("myacr.azurecr.io", "for-myacr.azurecr.io")},
			// Its password fits no image of the pods, so that it stays where it is.
			{Name: "spare", State: evidence.Found, Type: evidence.TypeDockerConfigJSON, Key: ".dockerconfigjson", Entries: login("other.azurecr.io", "")},
		},
		Nodes: []evidence.Node{{Name: "node0", OS: "linux", Architecture: "arm64", ProviderID: "azure:///subscriptions/s", Images: []string{image}}},
	}
	if d := cmp.Diff(want, e, same, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// What makes the pods is found from a pod, from its ReplicaSet and from a Job.
func TestGatherController(t *testing.T) {
	for _, c := range []struct {
		asked, controller evidence.Object
		pods              []string
	}{
		{evidence.Object{Kind: "Pod", Name: "web-new-a"}, evidence.Object{Kind: "Deployment", Name: "web"}, []string{"web-new-a"}},
		{evidence.Object{Kind: "ReplicaSet", Name: "web-old"}, evidence.Object{Kind: "Deployment", Name: "web"}, []string{"web-old-1"}},
		{evidence.Object{Kind: "Pod", Name: "bare"}, evidence.Object{Kind: "Pod", Name: "bare"}, []string{"bare"}},
		{evidence.Object{Kind: "Job", Name: "task"}, evidence.Object{Kind: "Job", Name: "task"}, []string{"task-1"}},
	} {
		e, err := kubernetes.Gather(t.Context(), fake.NewClientset(cluster()...), "team", c.asked)
		if err != nil {
			t.Fatal(err)
		}
		var pods []string
		for _, p := range e.Pods {
			pods = append(pods, p.Name)
		}
		if e.Controller != c.controller || !slices.Equal(pods, c.pods) {
			t.Errorf("%v: controller %v, pods %v", c.asked, e.Controller, pods)
		}
	}
	e, err := kubernetes.Gather(t.Context(), fake.NewClientset(cluster()...), "team", evidence.Object{Kind: "Deployment", Name: "idle"})
	if err != nil || len(e.Pods) != 0 || e.NoPods != "it is scaled to 0 replicas" {
		t.Errorf("scaled to nothing: %+v, %v", e, err)
	}
}

// What may not be read is told, and what does not exist is refused.
func TestGatherWithoutRights(t *testing.T) {
	client := fake.NewClientset(cluster()...)
	forbid := func(verb, resource string) {
		client.PrependReactor(verb, resource, func(a ktesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no role"))
		})
	}
	for _, r := range []string{"secrets", "events", "serviceaccounts", "nodes", "replicasets"} {
		forbid("get", r)
		forbid("list", r)
	}
	e, err := kubernetes.Gather(t.Context(), client, "team", evidence.Object{Kind: "Deployment", Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Pods) != 3 { // which ReplicaSet is the newest cannot be known
		t.Errorf("%d pods", len(e.Pods))
	}
	var unread []string
	for _, u := range e.Unread {
		if !strings.Contains(u.Why, "forbidden") {
			t.Errorf("%s: %s", u.What, u.Why)
		}
		unread = append(unread, u.What)
	}
	want := []string{"the replicasets of namespace team", "the events of namespace team", "the service account default", "the secret gone", "the secret regcred", "the other pull secrets of namespace team", "the node node0"}
	if d := cmp.Diff(want, unread); d != "" {
		t.Error(d)
	}
	for _, s := range e.Secrets {
		if s.State != evidence.Hidden {
			t.Errorf("%+v", s)
		}
	}
	forbid("get", "pods")
	for _, c := range []struct {
		kind, name string
		want       error
	}{{"Pod", "bare", kubernetes.ErrDenied}, {"Deployment", "nosuch", kubernetes.ErrNotFound}, {"Widget", "web", kubernetes.ErrKind}} {
		if _, err := kubernetes.Gather(t.Context(), client, "team", evidence.Object{Kind: c.kind, Name: c.name}); !errors.Is(err, c.want) {
			t.Errorf("%s/%s: %v, want %v", c.kind, c.name, err, c.want)
		}
	}
}

// A kubeconfig is read as kubectl reads it, and what is wrong with it is said.
func TestRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte("apiVersion: v1\nkind: Config\ncurrent-context: gone\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, q := range []kubernetes.Question{
		{File: file}, {File: file + ".nosuch"}, {Kubeconfig: []byte("{")}, {Kubeconfig: []byte("apiVersion: v1\nkind: Config\n"), Context: "x"},
	} {
		q.Kind, q.Name = "Pod", "web"
		if text, err := kubernetes.Read(t.Context(), q); err == nil || !strings.Contains(err.Error(), "kubeconfig") || text != nil {
			t.Errorf("%+v: %s, %v", q, text, err)
		}
	}
}

// The document says what was read, with the passwords: it is how they come to the server.
func TestDocument(t *testing.T) {
	e, err := kubernetes.Gather(t.Context(), fake.NewClientset(cluster()...), "team", evidence.Object{Kind: "Deployment", Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var back evidence.Evidence
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(e, back, same, cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
	if strings.Contains(string(text), "for-other") || !strings.Contains(string(text), "for-myacr.azurecr.io") {
		t.Error("a password goes that fits no image, or none goes")
	}
	if field, err := e.Validate(); err != nil {
		t.Errorf("%s: %v", field, err)
	}
}
