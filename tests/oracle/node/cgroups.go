package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const cgroups = "/sys/fs/cgroup"

// hierarchies lists where cgroups can be made: one place with version 2, one for each controller with version 1.
func hierarchies() ([]string, error) {
	if _, err := os.Stat(filepath.Join(cgroups, "cgroup.controllers")); err == nil {
		return []string{cgroups}, nil
	}
	entries, err := os.ReadDir(cgroups)
	if err != nil {
		return nil, impossibleError{fmt.Errorf("there are no cgroups here: %w", err)}
	}
	var found []string
	for _, entry := range entries {
		// Links stand for controllers that are mounted together.
		if path := filepath.Join(cgroups, entry.Name()); entry.IsDir() {
			if _, err := os.Stat(filepath.Join(path, "cgroup.procs")); err == nil {
				found = append(found, path)
			}
		}
	}
	if len(found) == 0 {
		return nil, impossibleError{errors.New("there are no cgroups here")}
	}
	return found, nil
}

// makeCgroups makes the cgroup that all of the node's are in, named after this process, and removes those of nodes whose
// process was killed.
func makeCgroups() (string, error) {
	roots, err := hierarchies()
	if err != nil {
		return "", err
	}
	removeStaleCgroups(roots)
	name := cgroupPrefix + strconv.Itoa(os.Getpid())
	for _, root := range roots {
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", impossibleError{fmt.Errorf("unable to make a cgroup: %w", err)}
		}
	}
	return name, nil
}

func removeStaleCgroups(roots []string) {
	for _, root := range roots {
		found, _ := filepath.Glob(filepath.Join(root, cgroupPrefix+"*"))
		for _, path := range found {
			pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(path), cgroupPrefix))
			if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
				// The next one tries again.
				_ = removeCgroup(path)
			}
		}
	}
}

// removeCgroups removes a cgroup from all hierarchies. The kernel may take a moment to see that it is empty.
func removeCgroups(name string) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(10 * time.Second)
	for _, root := range roots {
		for {
			err := removeCgroup(filepath.Join(root, name))
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("unable to remove a cgroup: %w", err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

// removeCgroup removes a cgroup and all that are in it, the innermost first; the files in them can't be removed.
func removeCgroup(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeCgroup(filepath.Join(path, entry.Name())); err != nil {
				return err
			}
		}
	}
	err = syscall.Rmdir(path)
	if err == syscall.ENOENT {
		return nil
	}
	return err
}
