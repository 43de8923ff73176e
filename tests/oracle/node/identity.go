package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// writeIdentity makes the node's client certificate, which the cluster's authority signs as that of a kubelet, and the
// kubeconfig with it.
func writeIdentity(c *cluster, dir, name string) error {
	authority, signer, err := readAuthority(c)
	if err != nil {
		return fmt.Errorf("unable to read the cluster's authority: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("unable to make the node's key: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: "system:node:" + name, Organization: []string{"system:nodes"}},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(30 * 24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, authority, key.Public(), signer)
	if err != nil {
		return fmt.Errorf("unable to sign the node's certificate: %w", err)
	}
	encoded, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("unable to encode the node's key: %w", err)
	}
	ca, err := os.ReadFile(c.CAFile)
	if err != nil {
		return fmt.Errorf("unable to read the cluster's authority: %w", err)
	}
	clientCA, err := os.ReadFile(c.KubeletClientCAFile)
	if err != nil {
		return fmt.Errorf("unable to read who may call kubelets: %w", err)
	}
	// JSON is YAML; []byte becomes the base64 that the fields with -data want.
	kubeconfig, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "node",
		"contexts": []any{map[string]any{"name": "node", "context": map[string]any{"cluster": "cluster", "user": "node"}}},
		"clusters": []any{map[string]any{"name": "cluster", "cluster": map[string]any{
			"server": c.Server, "certificate-authority-data": ca,
		}}},
		"users": []any{map[string]any{"name": "node", "user": map[string]any{
			"client-certificate-data": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
			"client-key-data":         pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded}),
		}}},
	})
	if err != nil {
		return fmt.Errorf("unable to encode the node's kubeconfig: %w", err)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "kubeconfig"), kubeconfig, 0o600),
		os.WriteFile(filepath.Join(dir, "client-ca.crt"), clientCA, 0o600),
	)
}

func readAuthority(c *cluster) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certificate, err := readPEM(c.CAFile)
	if err != nil {
		return nil, nil, err
	}
	authority, err := x509.ParseCertificate(certificate)
	if err != nil {
		return nil, nil, err
	}
	encoded, err := readPEM(c.pki("ca.key"))
	if err != nil {
		return nil, nil, err
	}
	key, err := x509.ParseECPrivateKey(encoded)
	return authority, key, err
}

func readPEM(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM in it", path)
	}
	return block.Bytes, nil
}
