package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// up starts a supervisor in a session of its own and waits until it says that its node is Ready.
func up(args []string) error {
	o, err := parse("up", args)
	if err != nil {
		return err
	}
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(o.dir, "logs"), 0o700); err != nil {
		return err
	}
	path := filepath.Join(o.dir, "logs", "supervisor.log")
	log, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.Command(binary, append([]string{"run"}, args...)...)
	command.Stderr = log
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	said, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	pid := filepath.Join(o.dir, "supervisor.pid")
	if err := os.WriteFile(pid, []byte(strconv.Itoa(command.Process.Pid)), 0o600); err != nil {
		return err
	}
	// The document ends with its closing brace, alone on a line; a supervisor that fails ends without.
	var text strings.Builder
	for lines := bufio.NewScanner(said); lines.Scan(); {
		text.WriteString(lines.Text() + "\n")
		if lines.Text() == "}" {
			_, err := os.Stdout.WriteString(text.String())
			return err
		}
	}
	failure := command.Wait()
	reason, _ := os.ReadFile(path)
	err = errors.New(strings.TrimSpace(string(reason)))
	if exit := (*exec.ExitError)(nil); errors.As(failure, &exit) && exit.ExitCode() == exitImpossible {
		return impossibleError{err}
	}
	return err
}

// down ends a node's supervisor, which takes down the node, or cleans up after one that was killed. No node is no error.
func down(args []string) error {
	o, err := parse("down", args)
	if err != nil {
		return err
	}
	file := filepath.Join(o.dir, "supervisor.pid")
	pid, err := supervisor(o.dir, file)
	if err != nil || pid == 0 {
		return err
	}
	deadline := time.Now().Add(30 * time.Second)
	for signal := syscall.SIGTERM; isOracle(pid); {
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("unable to end the supervisor (pid %d): %w", pid, err)
		}
		if time.Now().After(deadline) {
			signal = syscall.SIGKILL
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.Join(removeCgroups(cgroupPrefix+strconv.Itoa(pid)), clear(o.dir), os.RemoveAll(file))
}

// supervisor finds the process that keeps a node; 0 if there is none.
func supervisor(dir, file string) (int, error) {
	data, err := os.ReadFile(file)
	if err == nil {
		return strconv.Atoi(string(data))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	// It may have been started in the foreground.
	var d document
	data, err = os.ReadFile(filepath.Join(dir, "oracle.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return d.Supervisor, json.Unmarshal(data, &d)
}

// isOracle says whether a process lives and is of this program, of whatever build; numbers are given again.
func isOracle(pid int) bool {
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && strings.HasPrefix(filepath.Base(path), "oracle")
}
