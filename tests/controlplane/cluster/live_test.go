package cluster

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// liveCluster is a cluster that runs already, named by OUTRIGGER_CLUSTER=DIR; what needs one is skipped without.
func liveCluster(t *testing.T) *Document {
	t.Helper()
	dir := os.Getenv("OUTRIGGER_CLUSTER")
	if dir == "" {
		t.Skip("SKIPPED: needs a running cluster; start one with `cluster.sh up --dir DIR` and set OUTRIGGER_CLUSTER=DIR")
	}
	document, err := layout{dir: dir}.read()
	if err != nil {
		t.Fatal(err)
	}
	return document
}

func (d *Document) kubectl(t *testing.T, kubeconfig, stdin string, args ...string) (string, error) {
	t.Helper()
	command := exec.Command(d.Kubectl, args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	command.Stdin = strings.NewReader(stdin)
	output, err := command.CombinedOutput()
	return strings.TrimSpace(string(output)), err
}

// hostClient speaks to the API server as the host's ServiceAccount.
func hostClient(t *testing.T, d *Document) (*http.Client, string) {
	t.Helper()
	data, err := os.ReadFile(d.HostKubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Users []struct{ User struct{ Token string } }
	}
	if err := json.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: readRoots(t, d.CAFile)}}}, config.Users[0].User.Token
}

func readRoots(t *testing.T, path string) *x509.CertPool {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		t.Fatalf("no certificate in %s", path)
	}
	return roots
}

// attributes are what an access review asks about.
type attributes struct {
	Group       string `json:"group,omitempty"`
	Resource    string `json:"resource"`
	Subresource string `json:"subresource,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	Name        string `json:"name,omitempty"`
	Verb        string `json:"verb,omitempty"`
}

func TestTheHostMayDoWhatItNeedsAndNothingElse(t *testing.T) {
	d := liveCluster(t)
	if d.HostKubeconfig == "" {
		t.Skip("SKIPPED: the cluster was started without --rbac")
	}
	client, token := hostClient(t, d)
	may := map[attributes][]string{
		{Resource: "nodes"}:                                                              {"get", "list", "watch", "create", "patch", "delete"},
		{Resource: "nodes", Subresource: "status"}:                                       {"patch"},
		{Resource: "nodes", Subresource: "proxy"}:                                        {},
		{Resource: "pods"}:                                                               {"list", "watch", "delete"},
		{Resource: "pods", Subresource: "status"}:                                        {"patch"},
		{Resource: "pods", Subresource: "binding"}:                                       {},
		{Resource: "pods", Subresource: "exec"}:                                          {},
		{Resource: "pods", Subresource: "eviction"}:                                      {},
		{Resource: "pods", Subresource: "ephemeralcontainers"}:                           {},
		{Resource: "events"}:                                                             {"create", "patch"},
		{Group: "events.k8s.io", Resource: "events"}:                                     {},
		{Group: "coordination.k8s.io", Resource: "leases", Namespace: "kube-node-lease"}: {"get", "create", "update", "delete"},
		{Group: "coordination.k8s.io", Resource: "leases", Namespace: "kube-system"}:     {},
		{Group: "coordination.k8s.io", Resource: "leases"}:                               {},
		{Resource: "namespaces", Namespace: "kube-system", Name: "kube-system"}:          {"get"},
		{Resource: "namespaces", Namespace: "default", Name: "default"}:                  {},
		{Resource: "namespaces"}:                                                         {},
		{Resource: "secrets"}:                                                            {"get", "list", "watch"},
		{Resource: "configmaps"}:                                                         {"get", "list", "watch"},
		{Resource: "services"}:                                                           {"list", "watch"},
		{Resource: "endpoints"}:                                                          {},
		{Resource: "persistentvolumeclaims"}:                                             {},
		{Resource: "serviceaccounts"}:                                                    {"get"},
		{Resource: "serviceaccounts", Subresource: "token"}:                              {"create"},
		{Group: "certificates.k8s.io", Resource: "podcertificaterequests"}:               {"create", "list", "watch"},
		// Not by our role: every service account may (system:cluster-trust-bundle-discovery).
		{Group: "certificates.k8s.io", Resource: "clustertrustbundles"}:                                 {"get", "list", "watch"},
		{Group: "certificates.k8s.io", Resource: "certificatesigningrequests"}:                          {"list", "watch", "create"},
		{Group: "certificates.k8s.io", Resource: "certificatesigningrequests", Subresource: "approval"}: {},
		{Group: "certificates.k8s.io", Resource: "signers"}:                                             {},
		{Group: "authentication.k8s.io", Resource: "tokenreviews"}:                                      {"create"},
		{Group: "authorization.k8s.io", Resource: "subjectaccessreviews"}:                               {"create"},
		{Group: "authorization.k8s.io", Resource: "localsubjectaccessreviews"}:                          {},
		{Group: "rbac.authorization.k8s.io", Resource: "clusterroles"}:                                  {},
		{Group: "rbac.authorization.k8s.io", Resource: "clusterrolebindings"}:                           {},
		{Group: "apps", Resource: "deployments"}:                                                        {},
	}
	verbs := []string{"get", "list", "watch", "create", "patch", "update", "delete", "deletecollection", "bind", "escalate", "impersonate"}
	for question, allowed := range may {
		for _, verb := range verbs {
			question.Verb = verb
			body, err := json.Marshal(map[string]any{
				"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
				"spec": map[string]any{"resourceAttributes": question},
			})
			if err != nil {
				t.Fatal(err)
			}
			request, err := http.NewRequest(http.MethodPost, d.Server+"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Authorization", "Bearer "+token)
			request.Header.Set("Content-Type", "application/json")
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			var answer struct{ Status struct{ Allowed bool } }
			err = json.NewDecoder(response.Body).Decode(&answer)
			response.Body.Close()
			if err != nil || response.StatusCode != http.StatusCreated {
				t.Fatalf("%s, %v", response.Status, err)
			}
			if answer.Status.Allowed != slices.Contains(allowed, verb) {
				t.Errorf("%+v: allowed is %v", question, answer.Status.Allowed)
			}
		}
	}
}

// TestTheAPIServerReachesANode stands in for a host: a TLS server in the ordinary namespace that asks for a client
// certificate, and a Node that names it.
func TestTheAPIServerReachesANode(t *testing.T) {
	d := liveCluster(t)
	if !d.Network.NodeProxy {
		t.Skipf("SKIPPED: %s", d.Network.NodeProxyReason)
	}
	listener, err := net.Listen("tcp4", net.JoinHostPort(d.Network.Outside.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	kubelet := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s asks for %s", r.TLS.PeerCertificates[0].Subject.CommonName, r.URL.Path)
	}))
	kubelet.Listener.Close()
	kubelet.Listener = listener
	kubelet.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: readRoots(t, d.KubeletClientCAFile)}
	kubelet.Config.ErrorLog = log.New(io.Discard, "", 0) // the refused connection below is expected
	kubelet.StartTLS()
	defer kubelet.Close()

	const name = "live-test"
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	node := `{"apiVersion":"v1","kind":"Node","metadata":{"name":"` + name + `"}}`
	if output, err := d.kubectl(t, d.HostKubeconfig, node, "create", "-f", "-"); err != nil {
		t.Fatal(output)
	}
	defer func() {
		if output, err := d.kubectl(t, d.HostKubeconfig, "", "delete", "node", name); err != nil {
			t.Error(output)
		}
	}()
	status := fmt.Sprintf(`{"status":{"addresses":[{"type":"InternalIP","address":"%v"}],`+
		`"daemonEndpoints":{"kubeletEndpoint":{"Port":%s}},"conditions":[{"type":"Ready","status":"True","reason":"KubeletReady"}]}}`, d.Network.Outside, port)
	// By the administrator: kubectl reads a status before it changes it, for which a host has no right.
	if output, err := d.kubectl(t, d.Kubeconfig, "", "patch", "node", name, "--subresource=status", "--patch", status); err != nil {
		t.Fatal(output)
	}

	output, err := d.kubectl(t, d.Kubeconfig, "", "get", "--raw", "/api/v1/nodes/"+name+"/proxy/healthz")
	if want := kubeletClientName + " asks for /healthz"; err != nil || output != want {
		t.Errorf("by node proxy: %q, %v; want %q", output, err, want)
	}

	// What kubectl logs asks for is not the node proxy, but another way through the API server.
	pod := `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"live-test"},"spec":{"nodeName":"` + name +
		`","containers":[{"name":"main","image":"none"}]}}`
	if output, err := d.kubectl(t, d.Kubeconfig, pod, "create", "-f", "-"); err != nil {
		t.Fatal(output)
	}
	output, err = d.kubectl(t, d.Kubeconfig, "", "logs", "live-test")
	if want := kubeletClientName + " asks for /containerLogs/default/live-test/main"; err != nil || output != want {
		t.Errorf("by kubectl logs: %q, %v; want %q", output, err, want)
	}
	// As a host deletes it: without a look at it, for which it has no right.
	atOnce := `{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0}`
	if output, err := d.kubectl(t, d.HostKubeconfig, atOnce, "delete", "--raw", "/api/v1/namespaces/default/pods/live-test", "-f", "-"); err != nil {
		t.Error(output)
	}
	// Nobody without the API server's certificate gets in.
	anonymous := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	if response, err := anonymous.Get("https://" + listener.Addr().String() + "/healthz"); err == nil {
		body, _ := io.ReadAll(response.Body)
		t.Errorf("without a certificate: %s", body)
	}
}
