package cluster

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

//go:embed bootstrap.yaml
var bootstrapManifest []byte

//go:embed audit-policy.yaml
var auditPolicy []byte

// The ServiceAccount that hosts under test run as; the RBAC file makes it.
const (
	hostNamespace      = "outrigger-system"
	hostServiceAccount = "outrigger"
	hostTokenLifetime  = "8760h"
)

// writeConfig writes what components read beside their flags, and kubectl.
func (s *supervisor) writeConfig() error {
	policy := auditPolicy
	if s.options.auditPolicy != "" {
		var err error
		if policy, err = os.ReadFile(s.options.auditPolicy); err != nil {
			return err
		}
	}
	// A cache of its own, since another cluster may have had this address before; and no preferences of the user's.
	kubectl := fmt.Sprintf(`#!/bin/sh
# kubectl of the version of this cluster, which it speaks to unless told otherwise.
export KUBECONFIG="${KUBECONFIG:-%s}" KUBECACHEDIR=%s KUBERC=off
exec %s kubectl "$@"
`, s.layout.kubeconfig(adminUser), quote(s.layout.path("kubectl-cache")), quote(s.binary))
	return errors.Join(
		os.Symlink(s.binary, s.layout.path("bin", "controlplane")), // for cluster.sh, which may have a newer one by then
		os.WriteFile(s.layout.kubectl(), []byte(kubectl), 0o700),
		os.WriteFile(s.layout.config("audit-policy.yaml"), policy, 0o600),
		os.WriteFile(s.layout.config("bootstrap.yaml"), bootstrapManifest, 0o600),
		os.WriteFile(s.layout.config("scheduler.yaml"), []byte(schedulerConfig(s.layout)), 0o600),
	)
}

// bootstrap fills the new cluster: bindings, the host's ServiceAccount and its kubeconfig. It runs in the ordinary
// namespace and so shows that the kubeconfigs work there.
func (s *supervisor) bootstrap(ctx context.Context) error {
	files := []string{"--filename=" + s.layout.config("bootstrap.yaml")}
	if s.options.rbac != "" {
		files = append(files, "--filename="+s.options.rbac)
	}
	if _, err := s.kubectl(ctx, append([]string{"apply"}, files...)...); err != nil {
		return err
	}
	if s.options.rbac != "" {
		token, err := s.kubectl(ctx, "create", "token", hostServiceAccount, "--namespace="+hostNamespace, "--duration="+hostTokenLifetime)
		if err != nil {
			return err
		}
		path := s.layout.kubeconfig(hostUser)
		credential := credential{token: strings.TrimSpace(token)}
		if err := writeKubeconfig(path, s.document.Server, s.document.CAFile, hostUser, credential); err != nil {
			return err
		}
		s.update(func(document *Document) { document.HostKubeconfig = path })
	}

	// Pods can't be created before their namespace has its default account, which the controller manager makes.
	account := []string{"get", "serviceaccount", "default", "--namespace=default", "--output=name"}
	var missing error
	if !eventually(time.Now().Add(patience), func() bool {
		_, missing = s.kubectl(ctx, account...)
		return missing == nil || ctx.Err() != nil
	}) {
		return missing
	}
	return s.recordVersions(ctx)
}

func (s *supervisor) recordVersions(ctx context.Context) error {
	output, err := s.kubectl(ctx, "get", "--raw=/version")
	if err != nil {
		return err
	}
	var answer struct{ GitVersion, GoVersion string }
	if err := json.Unmarshal([]byte(output), &answer); err != nil {
		return fmt.Errorf("unable to read the server's version: %w", err)
	}
	versions := map[string]string{"kubernetes": answer.GitVersion, "go": answer.GoVersion}
	output, err = s.run(ctx, "etcd", "--version")
	if err != nil {
		return err
	}
	if first, _, found := strings.Cut(output, "\n"); found {
		versions["etcd"] = strings.TrimPrefix(first, "etcd Version: ")
	}
	s.update(func(document *Document) { document.Versions = versions })
	return nil
}

// kubectl runs our own with the administrator's kubeconfig and returns what it prints.
func (s *supervisor) kubectl(ctx context.Context, args ...string) (string, error) {
	return s.run(ctx, append([]string{"kubectl"}, args...)...)
}

func (s *supervisor) run(ctx context.Context, args ...string) (string, error) {
	command := exec.CommandContext(ctx, s.binary, args...)
	command.Env = append(s.environment(),
		"KUBECONFIG="+s.layout.kubeconfig(adminUser), "KUBECACHEDIR="+s.layout.path("kubectl-cache"), "KUBERC=off")
	output, err := command.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return "", fmt.Errorf("unable to %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(exit.Stderr)))
	}
	return string(output), err
}

// quote makes one word of s for a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
