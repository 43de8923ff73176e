package cluster

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// controlplane is the built binary, named by OUTRIGGER_CONTROLPLANE; what needs it is skipped without.
func controlplane(t *testing.T) string {
	t.Helper()
	binary := os.Getenv("OUTRIGGER_CONTROLPLANE")
	if binary == "" {
		t.Skip("SKIPPED: needs the built binary; set OUTRIGGER_CONTROLPLANE=$(cluster.sh build)")
	}
	return binary
}

func newCluster(t *testing.T, binary string) *Document {
	t.Helper()
	dir := t.TempDir()
	var stderr bytes.Buffer
	command := exec.Command(binary, "up", "--dir", dir)
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	t.Cleanup(func() { takeDown(t, binary, dir) })
	document := &Document{}
	if err := json.Unmarshal(output, document); err != nil {
		t.Fatal(err)
	}
	return document
}

func takeDown(t *testing.T, binary, dir string) {
	t.Helper()
	if output, err := exec.Command(binary, "down", "--dir", dir).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, output)
	}
}

// leftovers names what still exists of a cluster: processes that have its directory in their arguments, and its interface.
func leftovers(dir, link string) []string {
	var left []string
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range processes {
		if data, err := os.ReadFile(path); err == nil && bytes.Contains(data, []byte(dir+"/")) {
			left = append(left, strings.ReplaceAll(string(data), "\x00", " "))
		}
	}
	if link != "" {
		if _, err := os.Stat(filepath.Join("/sys/class/net", link)); err == nil {
			left = append(left, link)
		}
	}
	return left
}

func expectNothingLeft(t *testing.T, dir, link string) {
	t.Helper()
	if !eventually(time.Now().Add(20*time.Second), func() bool { return len(leftovers(dir, link)) == 0 }) {
		t.Errorf("left: %v", leftovers(dir, link))
	}
}

func expectOnlyLogs(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "logs" {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestDownLeavesLogsAlone(t *testing.T) {
	binary := controlplane(t)
	d := newCluster(t, binary)
	if len(leftovers(d.Dir, d.Network.Interface)) < 5 {
		t.Fatal("the test does not see the processes that it is to miss later")
	}
	second := exec.Command(binary, "up", "--dir", d.Dir)
	if output, err := second.CombinedOutput(); err == nil || !strings.Contains(string(output), "runs in "+d.Dir+" already") {
		t.Errorf("a second cluster in one directory: %v, %s", err, output)
	}
	takeDown(t, binary, d.Dir)
	if left := leftovers(d.Dir, d.Network.Interface); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	expectOnlyLogs(t, d.Dir)
	takeDown(t, binary, d.Dir) // nothing to do is no error
}

func TestAKilledSupervisorTakesAllWithIt(t *testing.T) {
	binary := controlplane(t)
	d := newCluster(t, binary)
	if err := syscall.Kill(d.Supervisor, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	expectNothingLeft(t, d.Dir, d.Network.Interface)
	takeDown(t, binary, d.Dir)
	expectOnlyLogs(t, d.Dir)
}

func TestAnInterruptedStartLeavesNothing(t *testing.T) {
	binary := controlplane(t)
	for _, verb := range []string{"up", "run"} {
		for _, stage := range []string{"cluster.json", "logs/etcd.log", "logs/kube-apiserver.log", "logs/kube-scheduler.log"} {
			dir := t.TempDir()
			command := exec.Command(binary, verb, "--dir", dir)
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			if !eventually(time.Now().Add(time.Minute), func() bool {
				_, err := os.Stat(filepath.Join(dir, stage))
				return err == nil
			}) {
				t.Fatalf("no %s", stage)
			}
			_ = command.Process.Signal(syscall.SIGINT)
			_ = command.Wait()
			expectNothingLeft(t, dir, "")
			expectOnlyLogs(t, dir)
		}
	}
}

func TestRunEndsWithItsInput(t *testing.T) {
	binary := controlplane(t)
	dir := t.TempDir()
	command := exec.Command(binary, "run", "--until-eof", "--dir", dir)
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	command.Stdout = &output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	d := layout{dir: dir}
	var document *Document
	if !eventually(time.Now().Add(patience), func() bool {
		document, err = d.read()
		return err == nil && document.Ready
	}) {
		t.Fatal("not ready")
	}
	input.Close()
	if err := command.Wait(); err != nil {
		t.Error(err)
	}
	if line := "export KUBECONFIG=" + document.Kubeconfig + "\n"; !strings.Contains(output.String(), line) {
		t.Errorf("no %q in %s", line, output.String())
	}
	expectNothingLeft(t, dir, document.Network.Interface)
	expectOnlyLogs(t, dir)
}

func TestComponentsComeBack(t *testing.T) {
	binary := controlplane(t)
	d := newCluster(t, binary)
	call := func(args ...string) {
		t.Helper()
		if output, err := exec.Command(binary, append(args, "--dir", d.Dir)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, output)
		}
	}
	for _, name := range []string{etcd, apiserver, controllerManager, scheduler} {
		call("restart", name)
	}
	call("stop", apiserver)
	if output, err := d.kubectl(t, d.Kubeconfig, "", "get", "namespaces"); err == nil {
		t.Errorf("a stopped API server answers: %s", output)
	}
	call("start", apiserver)
	output, err := d.kubectl(t, d.Kubeconfig, "", "get", "namespace", "default", "--output=name")
	if err != nil || output != "namespace/default" {
		t.Errorf("%v: %s", err, output)
	}
}
