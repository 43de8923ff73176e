// Command controlplane is a whole Kubernetes control plane in one binary, for Outrigger's tests and for trying things out.
//
// The first argument picks a part of Kubernetes (etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl),
// which then behaves as its own binary would, or a verb of ours (up, down, run, restart, stop, start), which starts those
// parts as children of one supervisor. See README.md.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"

	"outrigger.dev/tests/controlplane/cluster"

	// CronJobs with a time zone work on machines without a zone database.
	_ "time/tzdata"

	// What the components' own main packages register.
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

var components = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
}

func main() {
	// Invoked through a link named kubectl there is no component argument.
	if filepath.Base(os.Args[0]) != "kubectl" {
		if len(os.Args) < 2 {
			fmt.Fprintln(os.Stderr, cluster.Usage)
			os.Exit(cluster.ExitUsage)
		}
		os.Args = os.Args[1:]
	}
	name := filepath.Base(os.Args[0])
	switch command, isComponent := components[name]; {
	case isComponent:
		os.Exit(cli.Run(command()))
	case name == "etcd":
		etcdmain.Main(os.Args)
	case name == "kubectl":
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			kubectlutil.CheckErr(err)
		}
	default:
		os.Exit(cluster.Main(name, os.Args[1:]))
	}
}
