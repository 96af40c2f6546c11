package storage

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

func options(mode core.PersistentVolumeAccessMode) controller.ProvisionOptions {
	policy := core.PersistentVolumeReclaimDelete
	return controller.ProvisionOptions{
		StorageClass: &storage.StorageClass{ReclaimPolicy: &policy}, PVName: "pvc-1",
		PVC: &core.PersistentVolumeClaim{Spec: core.PersistentVolumeClaimSpec{
			AccessModes: []core.PersistentVolumeAccessMode{mode},
			Resources:   core.VolumeResourceRequirements{Requests: core.ResourceList{core.ResourceStorage: resource.MustParse("1Gi")}},
		}},
	}
}

func TestVolume(t *testing.T) {
	v := Volumes{Node: "node1", Dir: t.TempDir()}
	volume, _, err := v.Provision(t.Context(), options(core.ReadWriteOnce))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(v.Dir, "pvc-1")
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o777 || volume.Spec.Local.Path != dir {
		t.Errorf("the directory %s: %v, %v", volume.Spec.Local.Path, info, err)
	}
	if got := volume.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values; len(got) != 1 || got[0] != "node1" {
		t.Errorf("it is on %v", got)
	}
	if !v.ShouldDelete(t.Context(), volume) || (Volumes{Node: "node0"}).ShouldDelete(t.Context(), volume) {
		t.Error("the wrong node removes it")
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := v.Delete(t.Context(), volume); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("after its end: %v", err)
	}
}

// TestDeleteStaysAtHome has a volume that somebody wrote by hand: its path is not followed, and neither is its name.
func TestDeleteStaysAtHome(t *testing.T) {
	home := t.TempDir()
	v := Volumes{Node: "node1", Dir: filepath.Join(home, "volumes")}
	precious, other := filepath.Join(home, "precious"), filepath.Join(v.Dir, "pvc-2")
	if err := errors.Join(os.MkdirAll(precious, 0o700), os.MkdirAll(other, 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pvc-1", "../precious", "..", "."} {
		_ = v.Delete(t.Context(), &core.PersistentVolume{ObjectMeta: meta.ObjectMeta{Name: name}, Spec: core.PersistentVolumeSpec{
			PersistentVolumeSource: core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: precious}},
		}})
		for _, dir := range []string{precious, other} {
			if _, err := os.Stat(dir); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

func TestSharedVolumesAreRefused(t *testing.T) {
	v := Volumes{Node: "node1", Dir: t.TempDir()}
	_, _, err := v.Provision(t.Context(), options(core.ReadWriteMany))
	if err == nil || !strings.Contains(err.Error(), "only ReadWriteOnce and ReadWriteOncePod are possible") {
		t.Errorf("got %v", err)
	}
}

func TestTheNodeOfTheSchedulersChoice(t *testing.T) {
	claim := &core.PersistentVolumeClaim{ObjectMeta: meta.ObjectMeta{Annotations: map[string]string{"volume.kubernetes.io/selected-node": "node1"}}}
	if !(Volumes{Node: "node1"}).ShouldProvision(t.Context(), claim) || (Volumes{Node: "node0"}).ShouldProvision(t.Context(), claim) {
		t.Error("the wrong node makes it")
	}
}
