package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func testPKI(t *testing.T) pki {
	t.Helper()
	p, err := writePKI(t.TempDir(), netip.MustParseAddr("198.18.7.2"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p pki) load(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(p.cert(name))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestEveryCertificateIsOfItsAuthorityAlone(t *testing.T) {
	p := testPKI(t)
	authorities := []string{"ca", "front-proxy-ca", "etcd-ca"}
	signers := map[string]string{
		"apiserver": "ca", "controllers": "ca", "apiserver-kubelet-client": "ca", "admin": "ca",
		"kube-controller-manager": "ca", "kube-scheduler": "ca",
		"front-proxy-client": "front-proxy-ca", "etcd": "etcd-ca", "etcd-client": "etcd-ca",
	}
	for name, signer := range signers {
		cert := p.load(t, name)
		if _, err := tls.LoadX509KeyPair(p.cert(name), p.key(name)); err != nil {
			t.Errorf("%s: key and certificate do not belong together: %v", name, err)
		}
		for _, authority := range authorities {
			roots := x509.NewCertPool()
			roots.AddCert(p.load(t, authority))
			_, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
			if trusted := err == nil; trusted != (authority == signer) {
				t.Errorf("%s under %s: trusted is %v (%v)", name, authority, trusted, err)
			}
		}
	}
}

func TestServersAnswerForTheirAddressesAndClientsForNone(t *testing.T) {
	p := testPKI(t)
	server := p.load(t, "apiserver")
	for _, host := range []string{"198.18.7.2", "127.0.0.1", serviceIP, "kubernetes.default.svc"} {
		if err := server.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	if err := p.load(t, "etcd").VerifyHostname("198.18.7.2"); err == nil {
		t.Error("etcd's certificate is good for an address that etcd does not listen at")
	}
	for _, name := range []string{"admin", "apiserver-kubelet-client", "etcd-client", "front-proxy-client"} {
		for _, usage := range p.load(t, name).ExtKeyUsage {
			if usage == x509.ExtKeyUsageServerAuth {
				t.Errorf("%s may act as a server", name)
			}
		}
	}
}

func TestOnlyTheAdministratorIsSystemMasters(t *testing.T) {
	p := testPKI(t)
	certs, err := filepath.Glob(p.cert("*"))
	if err != nil || len(certs) < 10 {
		t.Fatalf("%d certificates, %v", len(certs), err)
	}
	for _, path := range certs {
		name := filepath.Base(path[:len(path)-len(".crt")])
		groups := p.load(t, name).Subject.Organization
		if masters := len(groups) > 0; masters != (name == "admin") {
			t.Errorf("%s is in %v", name, groups)
		}
	}
	if name := p.load(t, "apiserver-kubelet-client").Subject.CommonName; name != kubeletClientName {
		t.Errorf("the API server shows itself to kubelets as %q", name)
	}
}

func TestKeysAreForTheirOwnerAlone(t *testing.T) {
	p := testPKI(t)
	keys, err := filepath.Glob(p.key("*"))
	if err != nil || len(keys) < 10 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	for _, path := range keys {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}
