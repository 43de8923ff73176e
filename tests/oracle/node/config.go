package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Where things are within the node's own mount namespace, whatever they are called outside: sockets have short names there,
// and what daemons put into directories of the system goes with the namespace.
const (
	inside       = "/run/oracle"     // the node's directory
	insideBin    = "/run/oracle-bin" // kubelet, containerd and its companions
	socket       = "/run/containerd/containerd.sock"
	bridge       = "oracle0"
	podSubnet    = "10.88.0.0/16"
	kubeletPort  = 10250 // free: the network namespace has no other kubelet in it
	cgroupPrefix = "outrigger-oracle-"
)

// tools of the system that a node takes.
type tools struct{ runc, busybox, cni string }

func findTools() (*tools, error) {
	t := &tools{}
	var missing []string
	if os.Geteuid() != 0 {
		return nil, impossibleError{errors.New("only root can run containers here; run it as root")}
	}
	for program, path := range map[string]*string{"runc": &t.runc, "busybox": &t.busybox, "nsenter": nil, "ip": nil} {
		found, err := exec.LookPath(program)
		if err != nil {
			missing = append(missing, program)
		} else if path != nil {
			*path = found
		}
	}
	// Debian's, Fedora's, and where everybody else has them.
	for _, dir := range []string{"/usr/lib/cni", "/usr/libexec/cni", "/opt/cni/bin"} {
		if _, err := os.Stat(filepath.Join(dir, "bridge")); err == nil && t.cni == "" {
			t.cni = dir
		}
	}
	if t.cni == "" {
		missing = append(missing, "the CNI plugins")
	}
	if len(missing) > 0 {
		return nil, impossibleError{fmt.Errorf("this machine lacks %s; on Debian they are in runc, containernetworking-plugins, busybox-static, util-linux and iproute2", strings.Join(missing, ", "))}
	}
	return t, nil
}

// writeConfig writes what containerd, its network and the kubelet read.
func writeConfig(c *cluster, t *tools, o options, cgroup string) error {
	network, err := json.Marshal(map[string]any{
		"cniVersion": "0.4.0", "name": "pods",
		"plugins": []any{map[string]any{
			"type": "bridge", "bridge": bridge, "isGateway": true, "hairpinMode": true,
			"ipam": map[string]any{
				"type": "host-local", "dataDir": inside + "/addresses",
				"ranges": []any{[]any{map[string]string{"subnet": podSubnet}}}, "routes": []any{map[string]string{"dst": "0.0.0.0/0"}},
			},
		}},
	})
	if err != nil {
		return err
	}
	kubelet, err := json.MarshalIndent(kubeletConfig(c, cgroup), "", "  ")
	if err != nil {
		return err
	}
	files := map[string][]byte{
		"containerd.toml":       []byte(containerdConfig(t, o.dir)),
		"cni/10-pods.conflist":  network,
		"kubelet.json":          append(kubelet, '\n'),
		"resolv.conf":           []byte("nameserver 192.0.2.53\n"),
		"kernel/overcommit":     []byte("1\n"),
		"kernel/panic":          []byte("10\n"),
		"kernel/panic_on_oops":  []byte("1\n"),
		"kernel/panic_on_oom":   []byte("0\n"),
		"kernel/root_maxkeys":   []byte("1000000\n"),
		"kernel/root_maxbytes":  []byte("25000000\n"),
		"kubelet/.for-the-root": nil,
	}
	for name, content := range files {
		path := filepath.Join(o.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func containerdConfig(t *tools, dir string) string {
	// An overlay can't lie on an overlay, as the file systems of containers are.
	snapshotter := "overlayfs"
	if isOverlay(dir) {
		snapshotter = "native"
	}
	return fmt.Sprintf(`version = 3
root = "%[1]s/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.nri.v1.nri"]
[grpc]
  address = %[2]q
[plugins."io.containerd.internal.v1.opt"]
  path = "%[1]s/opt"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = %[3]q
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = %[4]q
[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
[plugins."io.containerd.cri.v1.runtime"]
  netns_mounts_under_state_dir = true
  # Sandboxes ask for less than this process may have where it lacks CAP_SYS_RESOURCE.
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = [%[5]q]
    conf_dir = "%[1]s/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = %[6]q
        SystemdCgroup = false
`, inside, socket, snapshotter, pauseImage, t.cni, t.runc)
}

// kubeletConfig is kubeadm's where that matters to a pod, and otherwise one that needs nothing of the machine.
func kubeletConfig(c *cluster, cgroup string) map[string]any {
	return map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"address": c.Network.Inside, "port": kubeletPort, "healthzPort": 0,
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false}, "webhook": map[string]any{"enabled": true},
			"x509": map[string]any{"clientCAFile": inside + "/client-ca.crt"},
		},
		"authorization":            map[string]any{"mode": "Webhook"},
		"containerRuntimeEndpoint": "unix://" + socket,
		"cgroupDriver":             "cgroupfs", "cgroupRoot": "/" + cgroup, "failCgroupV1": false, "failSwapOn": false,
		"enforceNodeAllocatable": []string{}, "oomScoreAdj": 0, "makeIPTablesUtilChains": false,
		"clusterDNS": []string{"10.96.0.10"}, "clusterDomain": "cluster.local", "resolvConf": inside + "/resolv.conf",
		"podLogsDir": inside + "/pods", "volumePluginDir": inside + "/volume-plugins",
		// Logs are read, not kept: none is cut while somebody does.
		"containerLogMaxSize": "4Gi",
		// A disk that is full is no subject here.
		"evictionHard":                map[string]string{"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%", "imagefs.inodesFree": "0%"},
		"imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
		"registerWithTaints": []any{map[string]string{"key": "suite.outrigger.dev/oracle", "effect": "NoSchedule"}},
	}
}
