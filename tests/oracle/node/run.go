package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// document is oracle.json: what a test has to know of a node that is Ready.
type document struct {
	Node       string `json:"node"`
	Address    string `json:"address"`
	Port       int    `json:"port"` // the kubelet's
	Image      string `json:"image"`
	Supervisor int    `json:"supervisorPid"`
	// Processes are the daemons, by name, as the machine numbers them; containers have more.
	Processes map[string]int `json:"processes"`
}

// leftovers are what a node writes and nobody reads when it is gone; its logs stay.
var leftovers = []string{
	"oracle.json", "addresses", "client-ca.crt", "cni", "containerd", "containerd.toml", "images.tar", "kernel", "kubeconfig",
	"kubelet", "kubelet.json", "opt", "pki", "pods", "resolv.conf", "volume-plugins",
}

// run keeps a node in the foreground.
func run(args []string) error {
	o, err := parse("run", args)
	if err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	signal.Ignore(syscall.SIGPIPE)
	if o.untilEOF {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}
	return supervise(ctx, o)
}

// supervise starts a node and takes it down when ctx ends. The node lives in namespaces that the kernel clears when their
// first process ends, which gets a death signal with this one: after a kill -9 nothing is left but files and empty cgroups.
func supervise(ctx context.Context, o options) (err error) {
	c, err := readCluster(o.cluster)
	if err != nil {
		return err
	}
	t, err := findTools()
	if err != nil {
		return err
	}
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(o.dir, "logs"), 0o700); err != nil {
		return err
	}
	cgroup, err := makeCgroups()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeCgroups(cgroup), clear(o.dir)) }()
	images := filepath.Join(o.dir, "images.tar")
	if err := errors.Join(writeConfig(c, t, o, cgroup), writeIdentity(c, o.dir, o.name), writeImages(images, t.busybox)); err != nil {
		return err
	}
	administrator, err := c.administrator()
	if err != nil {
		return err
	}

	// One of that name whose supervisor was killed may still count as Ready.
	_ = administrator.forget(ctx, o.name)

	// The death signal comes when the thread ends that started the child.
	runtime.LockOSThread()
	verdict, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer verdict.Close()
	command := exec.Command("nsenter", "--net="+c.Network.Namespace, "--", binary, verbReap, o.dir, filepath.Dir(binary),
		o.name, c.Network.Inside, cgroup)
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	command.ExtraFiles = []*os.File{writer}
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Setpgid: true, Pdeathsig: syscall.SIGKILL,
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("unable to start the node: %w", err)
	}
	writer.Close()
	end := make(chan error, 1)
	go func() { end <- command.Wait() }()
	defer func() {
		_ = command.Process.Kill()
		<-end
		// The network namespace is the cluster's and may live on; if not, this went with it.
		_ = exec.Command("nsenter", "--net="+c.Network.Namespace, "ip", "link", "del", bridge).Run()
		going, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = administrator.forget(going, o.name) // likewise
	}()
	started := make(chan bool, 1)
	go func() {
		line, _ := bufio.NewReader(verdict).ReadString('\n')
		started <- line != ""
	}()
	select {
	case <-ctx.Done():
		return nil
	case <-started: // or ended, which comes next
	}
	deadline := time.Now().Add(patience)
	for {
		unready := administrator.isReady(ctx, o.name)
		if unready == nil {
			break
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-end:
			end <- err
			return fmt.Errorf("the node ended (%v); see %s", err, filepath.Join(o.dir, "logs"))
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the node is not ready after %v: %w; see %s", patience, unready, filepath.Join(o.dir, "logs"))
		}
	}
	if err := announce(o, c, daemons(command.Process.Pid)); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-end:
		end <- err
		return fmt.Errorf("the node ended (%v); see %s", err, filepath.Join(o.dir, "logs"))
	}
}

// announce writes oracle.json at once or not at all, and prints it.
func announce(o options, c *cluster, processes map[string]int) error {
	data, err := json.MarshalIndent(document{
		Node: o.name, Address: c.Network.Inside, Port: kubeletPort, Image: appImage, Supervisor: os.Getpid(),
		Processes: processes,
	}, "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	path := filepath.Join(o.dir, "oracle.json")
	if err := os.WriteFile(path+".next", data, 0o600); err != nil {
		return err
	}
	if err := os.Rename(path+".next", path); err != nil {
		return err
	}
	_, err = os.Stdout.Write(data)
	return err
}

// clear removes what a node wrote into its directory.
func clear(dir string) error {
	var failures []error
	for _, name := range leftovers {
		failures = append(failures, os.RemoveAll(filepath.Join(dir, name)))
	}
	return errors.Join(failures...)
}
