package compute

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
	ours "fairlead.dev/internal/resource"
	"fairlead.dev/internal/run"
)

// Labels and annotations of what is ours on a cluster.
const (
	labelInstallation = "fairlead.dev/installation"
	labelSandbox      = "fairlead.dev/sandbox"
	labelSecret       = "fairlead.dev/secret" // "env" or "pull"
	noteWorkload      = "fairlead.dev/workload"
	noteHostname      = "fairlead.dev/hostname"
	noteContainer     = "container.fairlead.dev/" // with the container's name: its binding
)

// Kinds of secrets.
const (
	secretEnv  = "env"
	secretPull = "pull"
)

// discard is the port of a service that nobody is known to listen behind: the API demands one (RFC 863).
const discard = 9

// Errors of sandboxes and containers that cannot be.
var (
	// ErrHostPort: a pod's ports are not published on hosts.
	ErrHostPort = fault.New(fault.Unsupported, "HostPortUnsupported", "ports: a workload on Kubernetes publishes no port on a host; it is reached by its Service")
	// ErrID: the id cannot be a name on a cluster.
	ErrID = fault.New(fault.Invalid, "InvalidID", "an id is 1 to 50 lower-case letters, digits and '-'")
)

var idPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?$`)

// binding says which container of Fairlead's an instance of a pod's container is.
type binding struct {
	ID       string `json:"id,omitempty"` // "" when nobody waits for it
	Instance int32  `json:"instance"`     // by restarts
	Log      string `json:"log"`          // the file that it is written to
}

// bindings reads what Start wrote to a pod, by container.
func bindings(pod *corev1.Pod) map[string]binding {
	out := map[string]binding{}
	for key, value := range pod.Annotations {
		name, ok := strings.CutPrefix(key, noteContainer)
		var b binding
		if ok && json.Unmarshal([]byte(value), &b) == nil {
			out[name] = b
		}
	}
	return out
}

func (b binding) note() string {
	raw, _ := json.Marshal(b) // strings and a number
	return string(raw)
}

// ours selects what belongs to this installation.
func (d *Driver) ours(o *metav1.ListOptions) {
	o.LabelSelector = labelInstallation + "=" + d.cfg.Installation
}

// objectName names a sandbox's things on the cluster: a name begins with a letter there.
func objectName(sandbox string) string { return "fl-" + sandbox }

var notLabel = regexp.MustCompile(`[^a-z0-9]+`)

// label makes a DNS label of a name, "" when nothing is left.
func label(name string, most int) string {
	name = strings.Trim(notLabel.ReplaceAllString(strings.ToLower(name), "-"), "-")
	return strings.TrimRight(name[:min(len(name), most)], "-")
}

// namespaceOf names the namespace of a workload's resource group: that name is told apart from equal ones of other
// subscriptions and installations by a few digits.
func (d *Driver) namespaceOf(workload ours.ID) string {
	group := strings.ToLower(workload.Subscription() + "/" + workload.ResourceGroup())
	sum := sha256.Sum256([]byte(d.cfg.Installation + "/" + group))
	return strings.TrimLeft(label(workload.ResourceGroup(), 50)+"-"+hex.EncodeToString(sum[:4]), "-")
}

func (d *Driver) namespace(workload ours.ID) *corev1.Namespace {
	group := "/subscriptions/" + workload.Subscription() + "/resourceGroups/" + workload.ResourceGroup()
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: d.namespaceOf(workload), Labels: map[string]string{labelInstallation: d.cfg.Installation},
		Annotations: map[string]string{"fairlead.dev/resource-group": group},
	}}
}

// accountName is the service account that pods run as: one without any right, and ours, so that nobody has to wait for the
// cluster to make its own.
const accountName = "fairlead"

func (d *Driver) account(workload ours.ID) *corev1.ServiceAccount {
	no := false
	return &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{
			Name: accountName, Namespace: d.namespaceOf(workload), Labels: map[string]string{labelInstallation: d.cfg.Installation},
		},
		AutomountServiceAccountToken: &no,
	}
}

// meta describes a thing of a sandbox.
func (d *Driver) meta(sandbox, suffix string, workload ours.ID) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: objectName(sandbox) + suffix, Namespace: d.namespaceOf(workload),
		Labels:      map[string]string{labelInstallation: d.cfg.Installation, labelSandbox: sandbox},
		Annotations: map[string]string{noteWorkload: workload.String()},
	}
}

// serviceOf is a sandbox: an address that stays while pods come and go.
func (d *Driver) serviceOf(spec run.SandboxSpec) (*corev1.Service, error) {
	if len(spec.Ports) > 0 {
		return nil, ErrHostPort
	}
	if !idPattern.MatchString(spec.ID) {
		return nil, ErrID.WithTarget(spec.ID)
	}
	s := &corev1.Service{ObjectMeta: d.meta(spec.ID, "", spec.Workload)}
	s.Annotations[noteHostname] = label(spec.Hostname, 63)
	s.Spec.Selector = map[string]string{labelInstallation: d.cfg.Installation, labelSandbox: spec.ID}
	s.Spec.PublishNotReadyAddresses = true
	for _, p := range spec.Listens {
		protocol := cmp.Or(strings.ToUpper(p.Protocol), "TCP")
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{
			Name: strings.ToLower(protocol) + "-" + strconv.Itoa(p.Port), Protocol: corev1.Protocol(protocol),
			Port: int32(p.Port), TargetPort: intstr.FromInt32(int32(p.Port)), //nolint:gosec // a port has 16 bits
		})
	}
	if len(s.Spec.Ports) == 0 {
		s.Spec.Ports = []corev1.ServicePort{{Name: "discard", Protocol: corev1.ProtocolTCP, Port: discard}}
	}
	return s, nil
}

func boxOf(s *corev1.Service) run.Sandbox {
	return run.Sandbox{ID: s.Labels[labelSandbox], IP: s.Spec.ClusterIP}
}

// podOf is the containers of a sandbox, which are started together.
func (d *Driver) podOf(box *corev1.Service, specs []run.ContainerSpec) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: box.Name, Namespace: box.Namespace, Labels: box.Labels,
		Annotations:     map[string]string{noteWorkload: box.Annotations[noteWorkload]},
		OwnerReferences: ownedBy(box),
	}}
	no := false
	pod.Spec = corev1.PodSpec{
		Hostname: box.Annotations[noteHostname], RestartPolicy: policyOf(specs[0]),
		ServiceAccountName: accountName, AutomountServiceAccountToken: &no, EnableServiceLinks: &no,
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: box.Name + "-" + secretPull}},
		NodeSelector:     map[string]string{corev1.LabelOSStable: "linux"},
	}
	if arch := specs[0].Image.Config().Platform.Architecture; arch != "" {
		pod.Spec.NodeSelector[corev1.LabelArchStable] = arch
	}
	for _, spec := range specs {
		pod.Annotations[noteContainer+spec.Name] = binding{ID: spec.ID, Log: spec.LogPath}.note()
		pod.Spec.Containers = append(pod.Spec.Containers, d.containerOf(box, spec))
	}
	return pod
}

func policyOf(spec run.ContainerSpec) corev1.RestartPolicy {
	return corev1.RestartPolicy(cmp.Or(spec.Restart, run.Never)) // Azure's names are Kubernetes' own
}

func ownedBy(box *corev1.Service) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: box.Name, UID: box.UID}}
}

// containerOf is one container. Limits are no reservations, as on one machine; every variable stands in a Secret.
func (d *Driver) containerOf(box *corev1.Service, spec run.ContainerSpec) corev1.Container {
	c := corev1.Container{
		Name: spec.Name, Image: d.imageName(spec.Image), ImagePullPolicy: corev1.PullIfNotPresent,
		Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{}, Requests: corev1.ResourceList{}},
	}
	for _, word := range spec.Command {
		c.Command = append(c.Command, strings.ReplaceAll(word, "$(", "$$(")) // which Kubernetes would put a variable for
	}
	for i, e := range spec.Env {
		name, _, _ := strings.Cut(e, "=")
		c.Env = append(c.Env, corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: box.Name + "-" + secretEnv}, Key: envKey(spec.Name, i),
		}}})
	}
	limit := func(what corev1.ResourceName, q *resource.Quantity) {
		c.Resources.Limits[what], c.Resources.Requests[what] = *q, resource.Quantity{}
	}
	if spec.CPU > 0 {
		limit(corev1.ResourceCPU, resource.NewMilliQuantity(max(1, int64(spec.CPU*1000)), resource.DecimalSI))
	}
	if spec.MemoryBytes > 0 {
		limit(corev1.ResourceMemory, resource.NewQuantity(spec.MemoryBytes, resource.BinarySI))
	}
	return c
}

func envKey(container string, i int) string { return fmt.Sprintf("%s.%d", container, i) }

// imageName pins an image by the digest that the right to pull was granted for, at the name that nodes reach it by.
func (d *Driver) imageName(image pull.Image) string {
	r := image.Reference()
	return d.cfg.Registry(r.Host) + "/" + r.Repository + "@" + string(image.Digest())
}

// envSecret holds the variables of a pod's containers.
func (d *Driver) envSecret(box *corev1.Service, specs []run.ContainerSpec) *corev1.Secret {
	s := d.secretOf(box, secretEnv, corev1.SecretTypeOpaque)
	for _, spec := range specs {
		for i, e := range spec.Env {
			_, value, _ := strings.Cut(e, "=")
			s.Data[envKey(spec.Name, i)] = []byte(value)
		}
	}
	return s
}

func (d *Driver) secretOf(box *corev1.Service, kind string, secretType corev1.SecretType) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: box.Name + "-" + kind, Namespace: box.Namespace, OwnerReferences: ownedBy(box),
			Labels:      map[string]string{labelInstallation: d.cfg.Installation, labelSandbox: box.Labels[labelSandbox], labelSecret: kind},
			Annotations: map[string]string{noteWorkload: box.Annotations[noteWorkload]},
		},
		Type: secretType, Data: map[string][]byte{},
	}
}
