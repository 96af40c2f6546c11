// Package storage owns the persistent volumes of a cluster: directories on its nodes. A volume is made on the node to which
// the scheduler sends the first pod that uses it, and stays there, as do all later pods that use it. The classes are named
// as on AKS, so that manifests from there find theirs. How much a volume may hold is written down but not watched over.
package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	applystorage "k8s.io/client-go/applyconfigurations/storage/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	"fairlead.dev/kube/internal/addons/hosted"
)

// provisioner is what the classes call this package.
const provisioner = "fairlead.dev/directory"

// Publish makes the storage classes.
func Publish(ctx context.Context, client kubernetes.Interface) error {
	for _, name := range []string{"default", "managed-csi"} {
		class := applystorage.StorageClass(name).WithProvisioner(provisioner).
			WithReclaimPolicy(core.PersistentVolumeReclaimDelete).WithVolumeBindingMode(storage.VolumeBindingWaitForFirstConsumer)
		if name == "default" {
			class.WithAnnotations(map[string]string{"storageclass.kubernetes.io/is-default-class": "true"})
		}
		if _, err := client.StorageV1().StorageClasses().Apply(ctx, class, hosted.Apply()); err != nil {
			return fmt.Errorf("make the storage class %s: %w", name, err)
		}
	}
	return nil
}

// Volumes makes and removes the volumes of one node.
type Volumes struct {
	Node string
	Dir  string // each volume is a directory in it
}

// Run does so until ctx ends.
func (v Volumes) Run(ctx context.Context, client kubernetes.Interface) error {
	controller.NewProvisionController(ctx, client, provisioner, v,
		controller.LeaderElection(false), // there is one for each node, and each knows its volumes
		controller.MetricsPort(0), controller.Threadiness(1)).Run(ctx)
	return nil
}

// ShouldProvision implements controller.Qualifier: a claim is for the node that the scheduler has chosen.
func (v Volumes) ShouldProvision(_ context.Context, claim *core.PersistentVolumeClaim) bool {
	return claim.Annotations["volume.kubernetes.io/selected-node"] == v.Node
}

// ShouldDelete implements controller.DeletionGuard: a volume is removed where it is.
func (v Volumes) ShouldDelete(_ context.Context, volume *core.PersistentVolume) bool {
	return volume.Annotations[annotationNode] == v.Node
}

// annotationNode names the node that has the volume.
const annotationNode = "fairlead.dev/node"

// Provision implements controller.Provisioner.
func (v Volumes) Provision(_ context.Context, o controller.ProvisionOptions) (*core.PersistentVolume, controller.ProvisioningState, error) {
	for _, mode := range o.PVC.Spec.AccessModes {
		if mode != core.ReadWriteOnce && mode != core.ReadWriteOncePod {
			return nil, controller.ProvisioningFinished, fmt.Errorf(
				"access mode %s: a volume of this class is on one node, so that only %s and %s are possible", mode, core.ReadWriteOnce, core.ReadWriteOncePod)
		}
	}
	dir, err := v.dir(o.PVName)
	if err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	// As with a disk that was just formatted, everyone in a pod may write; who may enter a pod's volume, the kubelet decides.
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.Chmod(dir, 0o777)); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	mode := core.PersistentVolumeFilesystem
	return &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: o.PVName, Annotations: map[string]string{annotationNode: v.Node}},
		Spec: core.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy, AccessModes: o.PVC.Spec.AccessModes, VolumeMode: &mode,
			Capacity:               core.ResourceList{core.ResourceStorage: o.PVC.Spec.Resources.Requests[core.ResourceStorage]},
			PersistentVolumeSource: core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: dir}},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{{
				MatchExpressions: []core.NodeSelectorRequirement{{Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{v.Node}}},
			}}}},
		},
	}, controller.ProvisioningFinished, nil
}

// Delete implements controller.Provisioner.
func (v Volumes) Delete(_ context.Context, volume *core.PersistentVolume) error {
	dir, err := v.dir(volume.Name)
	if err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// dir is a volume's directory. It follows from the name alone: whoever may write volumes may write any path into one, and
// what is there is removed with it.
func (v Volumes) dir(name string) (string, error) {
	if name == "." || !filepath.IsLocal(name) || filepath.Base(name) != name {
		return "", fmt.Errorf("%q cannot be a directory's name", name)
	}
	return filepath.Join(v.Dir, name), nil
}
