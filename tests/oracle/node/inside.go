package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const (
	verbReap = "reap"
	verbWork = "work"
)

// reap is the first process of the node's PID namespace, with which everything else in it ends. It takes what daemons leave
// to it, and ends when the worker does.
func reap(args []string) error {
	if err := furnish(args[0], args[1]); err != nil {
		return err
	}
	worker, err := syscall.ForkExec("/proc/self/exe", append([]string{"oracle", verbWork}, args[2:]...), &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2, 3},
	})
	if err != nil {
		return fmt.Errorf("unable to start the worker: %w", err)
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return fmt.Errorf("unable to wait for the worker: %w", err)
		case pid == worker && status.Exited() && status.ExitStatus() == 0:
			return nil
		case pid == worker:
			return fmt.Errorf("the worker ended: %v", status)
		}
	}
}

// furnish makes the mount namespace the node's own. What daemons write into directories of the system, and what the
// kubelet asks of the kernel, stays in it.
func furnish(dir, bin string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("unable to leave the machine's mounts: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("unable to mount /proc: %w", err)
	}
	// Opened before what they are in may be covered.
	sources := map[string]string{dir: inside, bin: insideBin}
	open := map[string]*os.File{}
	for source := range sources {
		file, err := os.Open(source)
		if err != nil {
			return err
		}
		defer file.Close()
		open[source] = file
	}
	for _, covered := range []string{"/run", "/var/lib", "/var/log"} {
		if err := syscall.Mount("tmpfs", covered, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("unable to cover %s: %w", covered, err)
		}
	}
	for source, target := range sources {
		if err := bind(fmt.Sprintf("/proc/self/fd/%d", open[source].Fd()), target); err != nil {
			return err
		}
	}
	// The kubelet sets these for the whole machine. It reads them first, and finds what it wants.
	for name, tunable := range map[string]string{
		"overcommit": "vm/overcommit_memory", "panic_on_oom": "vm/panic_on_oom", "panic": "kernel/panic",
		"panic_on_oops": "kernel/panic_on_oops", "root_maxkeys": "kernel/keys/root_maxkeys", "root_maxbytes": "kernel/keys/root_maxbytes",
	} {
		target := filepath.Join("/proc/sys", tunable)
		if err := syscall.Mount(filepath.Join(inside, "kernel", name), target, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("unable to cover %s: %w", target, err)
		}
	}
	// As systemd has it, and volumes that are to be seen by containers need it.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED, ""); err != nil {
		return fmt.Errorf("unable to share the node's mounts with its containers: %w", err)
	}
	return nil
}

func bind(source, target string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount(source, target, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("unable to mount %s: %w", target, err)
	}
	return nil
}

// isOverlay says whether a directory lies on an overlay.
func isOverlay(dir string) bool {
	const magic = 0x794c7630
	var stat syscall.Statfs_t
	return syscall.Statfs(dir, &stat) == nil && uint32(stat.Type) == magic
}

// daemons finds the processes of the kubelet and of containerd below the one that is first in its PID namespace.
func daemons(first int) map[string]int {
	found := map[string]int{}
	for unvisited := []int{first}; len(unvisited) > 0; unvisited = unvisited[1:] {
		// What ends meanwhile has no children any more.
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", unvisited[0]))
		for _, file := range files {
			children, _ := os.ReadFile(file)
			for _, field := range strings.Fields(string(children)) {
				child, err := strconv.Atoi(field)
				if err != nil {
					continue
				}
				program, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", child))
				if name := filepath.Base(program); name == "kubelet" || name == "containerd" {
					found[name] = child
				}
				unvisited = append(unvisited, child)
			}
		}
	}
	return found
}

// program is a daemon, or a command, of the node's own, with its output in a log that outlives the node.
func program(log, name string, args ...string) (*exec.Cmd, error) {
	file, err := os.OpenFile(filepath.Join(inside, "logs", log+".log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	command := exec.Command(filepath.Join(insideBin, name), args...)
	command.Stdout, command.Stderr = file, file
	// containerd looks for its shim there, and the kubelet for mount.
	command.Env = append(os.Environ(), "PATH="+insideBin+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	return command, nil
}
