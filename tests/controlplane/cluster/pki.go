package cluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// lifetime of every certificate: a test cluster that lives longer than this has other worries.
const lifetime = 365 * 24 * time.Hour

// kubeletClientName is the common name that the API server shows to kubelets.
const kubeletClientName = "kube-apiserver-kubelet-client"

// serviceIP is the first address of the service range, which the API server gives to the Service "kubernetes".
const (
	serviceRange = "10.96.0.0/16"
	serviceIP    = "10.96.0.1"
)

// authority is a certificate authority whose key can sign.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	path string // of the certificate
}

// leaf says what one certificate is for. Without hosts it is a client's, with hosts a server's that may act as client, too
// (etcd's peers and its gateway do).
type leaf struct {
	name   string
	groups []string
	hosts  []string
}

// pki is the directory of keys and certificates of one cluster.
type pki struct{ dir string }

func (p pki) cert(name string) string { return filepath.Join(p.dir, name+".crt") }
func (p pki) key(name string) string  { return filepath.Join(p.dir, name+".key") }
func (p pki) path(name string) string { return filepath.Join(p.dir, name) }

// writePKI makes every key and certificate of a cluster: three authorities as kubeadm has them (cluster, front proxy, etcd),
// what they sign, and the service-account key pair.
func writePKI(dir string, address netip.Addr) (pki, error) {
	p := pki{dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return p, err
	}
	leaves := map[string]map[string]leaf{
		"ca": {
			"apiserver": {name: "kube-apiserver", hosts: []string{
				address.String(), "127.0.0.1", serviceIP, "localhost", "kubernetes", "kubernetes.default",
				"kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
			}},
			"controllers":              {name: "controllers", hosts: []string{address.String(), "127.0.0.1", "localhost"}},
			"apiserver-kubelet-client": {name: kubeletClientName},
			"admin":                    {name: "kubernetes-admin", groups: []string{"system:masters"}},
			"kube-controller-manager":  {name: "system:kube-controller-manager"},
			"kube-scheduler":           {name: "system:kube-scheduler"},
		},
		"front-proxy-ca": {"front-proxy-client": {name: frontProxyName}},
		"etcd-ca": {
			"etcd":        {name: "etcd", hosts: []string{"127.0.0.1", "localhost"}},
			"etcd-client": {name: "kube-apiserver-etcd-client"},
		},
	}
	for ca, signed := range leaves {
		authority, err := p.newAuthority(ca)
		if err != nil {
			return p, err
		}
		for file, leaf := range signed {
			if err := p.sign(authority, file, leaf); err != nil {
				return p, err
			}
		}
	}

	// The same authority under a name of its own, so that a host's clientCAFile does not depend on who signs what here.
	if err := copyFile(p.cert("ca"), p.cert("kubelet-client-ca")); err != nil {
		return p, err
	}
	return p, p.newServiceAccountKeys()
}

// frontProxyName is the common name with which the API server speaks to aggregated API servers.
const frontProxyName = "front-proxy-client"

func (p pki) newAuthority(file string) (*authority, error) {
	template, err := newTemplate(leaf{name: "outrigger-test-" + file})
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = nil
	key, err := p.issue(file, template, nil)
	if err != nil {
		return nil, err
	}
	return &authority{cert: template, key: key, path: p.cert(file)}, nil
}

func (p pki) sign(ca *authority, file string, l leaf) error {
	template, err := newTemplate(l)
	if err != nil {
		return err
	}
	_, err = p.issue(file, template, ca)
	return err
}

// issue makes a key, has ca (or, without one, the key itself) sign the template, and writes both.
func (p pki) issue(file string, template *x509.Certificate, ca *authority) (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("unable to make a key for %s: %w", file, err)
	}
	parent, signer := template, crypto.Signer(key)
	if ca != nil {
		parent, signer = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("unable to sign the certificate of %s: %w", file, err)
	}
	// Issuer and subject key ids come from the encoded form.
	if parsed, err := x509.ParseCertificate(der); err == nil {
		*template = *parsed
	}
	if err := writePEM(p.cert(file), "CERTIFICATE", der, 0o644); err != nil {
		return nil, err
	}
	return key, p.writeKey(file, key)
}

func (p pki) writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("unable to encode the key of %s: %w", file, err)
	}
	return writePEM(p.key(file), "EC PRIVATE KEY", der, 0o600)
}

// newServiceAccountKeys writes sa.key, with which tokens are signed, and sa.pub, with which they are checked.
func (p pki) newServiceAccountKeys() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("unable to make the service-account key: %w", err)
	}
	if err := p.writeKey("sa", key); err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("unable to encode the service-account key: %w", err)
	}
	return writePEM(p.path("sa.pub"), "PUBLIC KEY", der, 0o644)
}

func newTemplate(l leaf) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("unable to make a serial number: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: l.name, Organization: l.groups},
		// Clocks that differ a little, and virtual machines that step theirs after a pause.
		NotBefore:   now.Add(-time.Hour),
		NotAfter:    now.Add(lifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, host := range l.hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	if len(l.hosts) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	return template, nil
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}
