package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// The names of the components, which are the binary's first argument for them.
const (
	etcd              = "etcd"
	apiserver         = "kube-apiserver"
	controllerManager = "kube-controller-manager"
	scheduler         = "kube-scheduler"
)

// component is one child of the supervisor. Its flags are written to a file, one to a line, and read from there at each
// start, so that a test can change them and restart it.
type component struct {
	name    string
	flags   []string
	healthy func(context.Context) error
}

// newComponents returns the components in the order in which they start; each needs the one before it.
func newComponents(d layout, n *network, p pki, l *launcher, audit bool) ([]*component, error) {
	probe, err := newProbe(p)
	if err != nil {
		return nil, err
	}
	get := func(port int, path string) func(context.Context) error {
		return func(ctx context.Context) error {
			return probe.get(ctx, "https://"+net.JoinHostPort(n.Inside.String(), strconv.Itoa(port))+path)
		}
	}
	dialEtcd := func(context.Context) error {
		return l.do(func() error {
			connection, err := net.DialTimeout("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(n.ports.etcd)), time.Second)
			if err == nil {
				connection.Close()
			}
			return err
		})
	}
	return []*component{
		{name: etcd, flags: etcdFlags(d, n, p), healthy: dialEtcd},
		{name: apiserver, flags: apiserverFlags(d, n, p, audit), healthy: get(n.ports.apiserver, "/readyz")},
		{name: controllerManager, flags: controllerManagerFlags(d, n, p), healthy: get(n.ports.controllerManager, "/healthz")},
		{name: scheduler, flags: schedulerFlags(d, n, p), healthy: get(n.ports.scheduler, "/healthz")},
	}, nil
}

func etcdFlags(d layout, n *network, p pki) []string {
	client := fmt.Sprintf("https://127.0.0.1:%d", n.ports.etcd)
	peer := fmt.Sprintf("https://127.0.0.1:%d", n.ports.etcdPeer)
	return []string{
		"--name=outrigger-test",
		"--data-dir=" + d.etcdData(),
		"--listen-client-urls=" + client,
		"--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=outrigger-test=" + peer,
		"--cert-file=" + p.cert("etcd"),
		"--key-file=" + p.key("etcd"),
		"--trusted-ca-file=" + p.cert("etcd-ca"),
		"--client-cert-auth",
		"--peer-cert-file=" + p.cert("etcd"),
		"--peer-key-file=" + p.key("etcd"),
		"--peer-trusted-ca-file=" + p.cert("etcd-ca"),
		"--peer-client-cert-auth",
		fmt.Sprintf("--listen-metrics-urls=http://127.0.0.1:%d", n.ports.etcdMetrics),
		// The data lives as long as the cluster; a crash of the machine takes both.
		"--unsafe-no-fsync",
		"--quota-backend-bytes=" + strconv.Itoa(8<<30),
		"--log-level=warn",
	}
}

func apiserverFlags(d layout, n *network, p pki, audit bool) []string {
	flags := []string{
		"--bind-address=" + n.Inside.String(),
		"--advertise-address=" + n.Inside.String(),
		"--secure-port=" + strconv.Itoa(n.ports.apiserver),
		"--cert-dir=" + p.dir,
		"--tls-cert-file=" + p.cert("apiserver"),
		"--tls-private-key-file=" + p.key("apiserver"),
		"--client-ca-file=" + p.cert("ca"),
		"--etcd-servers=https://127.0.0.1:" + strconv.Itoa(n.ports.etcd),
		"--etcd-cafile=" + p.cert("etcd-ca"),
		"--etcd-certfile=" + p.cert("etcd-client"),
		"--etcd-keyfile=" + p.key("etcd-client"),
		// What it shows to kubelets. Their serving certificates are not checked, as kubeadm has it.
		"--kubelet-client-certificate=" + p.cert("apiserver-kubelet-client"),
		"--kubelet-client-key=" + p.key("apiserver-kubelet-client"),
		"--kubelet-preferred-address-types=InternalIP,Hostname",
		"--requestheader-client-ca-file=" + p.cert("front-proxy-ca"),
		"--requestheader-allowed-names=" + frontProxyName,
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + p.cert("front-proxy-client"),
		"--proxy-client-key-file=" + p.key("front-proxy-client"),
		// There is no kube-proxy: aggregated API servers are reached at their endpoints.
		"--enable-aggregator-routing",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + p.path("sa.pub"),
		"--service-account-signing-key-file=" + p.key("sa"),
		"--service-cluster-ip-range=" + serviceRange,
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--enable-bootstrap-token-auth",
		"--allow-privileged",
		// A load generator and a host on one machine are no reason to queue.
		"--max-requests-inflight=3000",
		"--max-mutating-requests-inflight=1500",
	}
	if n.Mode == modeLoopback {
		// An endpoint may not be a loopback address.
		flags = append(flags, "--endpoint-reconciler-type=none")
	}
	if audit {
		flags = append(flags,
			"--audit-policy-file="+d.config("audit-policy.yaml"),
			"--audit-log-path="+d.audit(),
			"--audit-log-mode=batch",
		)
	}
	return flags
}

func controllerManagerFlags(d layout, n *network, p pki) []string {
	return append(sharedFlags(d, n, p, controllerManager, n.ports.controllerManager),
		"--leader-elect=false",
		"--controllers=*,bootstrapsigner,tokencleaner",
		"--use-service-account-credentials",
		"--service-account-private-key-file="+p.key("sa"),
		"--root-ca-file="+p.cert("ca"),
		"--cluster-signing-cert-file="+p.cert("ca"),
		"--cluster-signing-key-file="+p.key("ca"),
		// At the default of 20 a second the controllers would be the bottleneck of every test.
		"--kube-api-qps=1000",
		"--kube-api-burst=2000",
		// Its default is a directory of the machine, which it would create.
		"--flex-volume-plugin-dir="+d.path("flexvolume"),
	)
}

func schedulerFlags(d layout, n *network, p pki) []string {
	return append(sharedFlags(d, n, p, scheduler, n.ports.scheduler), "--config="+d.config("scheduler.yaml"))
}

// schedulerConfig raises the client's limits, for which there are no flags beside a configuration file.
func schedulerConfig(d layout) string {
	return `apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection:
  kubeconfig: ` + strconv.Quote(d.kubeconfig(scheduler)) + `
  qps: 1000
  burst: 2000
leaderElection:
  leaderElect: false
`
}

// sharedFlags are those of both clients of the API server. Authentication and authorization of requests to themselves are
// delegated to it.
func sharedFlags(d layout, n *network, p pki, name string, port int) []string {
	config := d.kubeconfig(name)
	return []string{
		"--kubeconfig=" + config,
		"--authentication-kubeconfig=" + config,
		"--authorization-kubeconfig=" + config,
		"--bind-address=" + n.Inside.String(),
		"--secure-port=" + strconv.Itoa(port),
		"--tls-cert-file=" + p.cert("controllers"),
		"--tls-private-key-file=" + p.key("controllers"),
	}
}

// writeFlags keeps a component's flags where restarts read them.
func writeFlags(d layout, c *component) error {
	return writeAtomic(d.flags(c.name), []byte(strings.Join(c.flags, "\n")+"\n"), 0o600)
}

func readFlags(d layout, name string) ([]string, error) {
	data, err := os.ReadFile(d.flags(name))
	if err != nil {
		return nil, err
	}
	return strings.FieldsFunc(string(data), func(r rune) bool { return r == '\n' }), nil
}

// probe is an HTTP client with the admin's certificate, for health and for the few questions asked before a cluster counts
// as ready.
type probe struct{ client *http.Client }

func newProbe(p pki) (*probe, error) {
	pair, err := tls.LoadX509KeyPair(p.cert("admin"), p.key("admin"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(p.cert("ca"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("unable to read the cluster's own authority")
	}
	return &probe{client: &http.Client{
		Timeout: 2 * time.Second,
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}},
			// A component that was restarted must not be asked on a connection to its predecessor.
			DisableKeepAlives: true,
		},
	}}, nil
}

// get succeeds if the answer is 200.
func (p *probe) get(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 500))
		return fmt.Errorf("%s answered %s: %s", url, response.Status, strings.TrimSpace(string(body)))
	}
	return nil
}
