package cluster

import (
	"encoding/json"
	"os"
	"path/filepath"
)

// layout is what lies where in a cluster's directory.
type layout struct{ dir string }

func (d layout) path(elements ...string) string {
	return filepath.Join(append([]string{d.dir}, elements...)...)
}
func (d layout) document() string              { return d.path("cluster.json") }
func (d layout) lock() string                  { return d.path("supervisor.lock") }
func (d layout) pki() string                   { return d.path("pki") }
func (d layout) etcdData() string              { return d.path("etcd") }
func (d layout) kubectl() string               { return d.path("bin", "kubectl") }
func (d layout) config(name string) string     { return d.path("config", name) }
func (d layout) kubeconfig(user string) string { return d.path(user + ".kubeconfig") }
func (d layout) flags(name string) string      { return d.path("flags", name) }
func (d layout) held(name string) string       { return d.path("held", name) }
func (d layout) log(name string) string        { return d.path("logs", name+".log") }
func (d layout) audit() string                 { return d.log("audit") }

// The users that kubeconfigs are written for, beside the components.
const (
	adminUser = "admin"
	hostUser  = "outrigger"
)

// make creates the directories. Keys and tokens lie in them, so nobody else may look.
func (d layout) make() error {
	for _, name := range []string{"", "pki", "bin", "config", "flags", "held", "logs"} {
		if err := os.MkdirAll(d.path(name), 0o700); err != nil {
			return err
		}
	}
	return nil
}

// clear removes what a cluster wrote, and nothing else that may lie in the directory. Logs outlive the cluster, for whoever
// wants to know what happened; the lock, whoever holds it removes last.
func (d layout) clear() error {
	entries := []string{"pki", "etcd", "bin", "config", "flags", "held", "flexvolume", "kubectl-cache", "cluster.json"}
	kubeconfigs, err := filepath.Glob(d.path("*.kubeconfig"))
	if err != nil {
		return err
	}
	for _, path := range kubeconfigs {
		entries = append(entries, filepath.Base(path))
	}
	for _, name := range entries {
		if err := os.RemoveAll(d.path(name)); err != nil {
			return err
		}
	}
	return nil
}

// Document is cluster.json: what a test has to know of a running cluster.
type Document struct {
	Dir        string `json:"dir"`
	Ready      bool   `json:"ready"`
	Server     string `json:"server"`
	Kubeconfig string `json:"kubeconfig"` // of an administrator
	// HostKubeconfig is the ServiceAccount's that hosts under test run as; absent when no RBAC file was given.
	HostKubeconfig string `json:"hostKubeconfig,omitempty"`
	Kubectl        string `json:"kubectl"`
	CAFile         string `json:"caFile"`
	// KubeletClientCAFile and KubeletClientName say how a kubelet recognises the API server.
	KubeletClientCAFile string                       `json:"kubeletClientCAFile"`
	KubeletClientName   string                       `json:"kubeletClientName"`
	Network             *network                     `json:"network"`
	Supervisor          int                          `json:"supervisorPid"`
	Components          map[string]ComponentDocument `json:"components"`
	Versions            map[string]string            `json:"versions"`
	AuditLog            string                       `json:"auditLog,omitempty"`
	// Temporary says that `up` chose the directory, so that `down` removes it whole.
	Temporary bool `json:"temporary"`
}

// ComponentDocument is one component's part of cluster.json.
type ComponentDocument struct {
	Pid   int    `json:"pid"` // 0 while it is stopped
	Ready bool   `json:"ready"`
	Flags string `json:"flagsFile"`
	Log   string `json:"log"`
}

func (d layout) write(document *Document) error {
	data, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return err
	}
	return writeAtomic(d.document(), append(data, '\n'), 0o600)
}

func (d layout) read() (*Document, error) {
	data, err := os.ReadFile(d.document())
	if err != nil {
		return nil, err
	}
	document := &Document{}
	return document, json.Unmarshal(data, document)
}
