// The peer of `pod-churn streams`: a small kubelet server on Kubernetes' own streaming package, the one that kubelets and
// container runtimes serve exec with.
//
//	peer --client-ca FILE --log-rate N --log-line-bytes N
//	peer version
//
// It listens on loopback, prints its address, and ends with its standard input. What it serves is what the host's mock does:
//
//	/exec/NAMESPACE/echo/CONTAINER      prints the command, then its input as it comes
//	/exec/NAMESPACE/process/CONTAINER   runs the command on this machine
//	/containerLogs/NAMESPACE/POD/CONTAINER?follow=true&limitBytes=N
//
// Callers show a certificate that the authority has signed. What a kubelet asks the API server about them is left out.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

func main() {
	log.SetFlags(0)
	authority := flag.String("client-ca", "", "whose certificates are believed")
	var lines source
	flag.Float64Var(&lines.rate, "log-rate", 1, "lines of log a second")
	flag.IntVar(&lines.width, "log-line-bytes", 0, "to which each line is filled up")
	flag.Parse()
	if flag.Arg(0) == "version" {
		fmt.Println(madeOf())
		return
	}
	if err := serve(*authority, &lines); err != nil {
		log.Fatalf("unable to serve: %v", err)
	}
}

func serve(authority string, lines *source) error {
	config, err := tlsConfig(authority)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	lines.started = time.Now()
	mux := http.NewServeMux()
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", serveExec)
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", lines.serveLogs)
	server := &http.Server{Handler: mux, TLSConfig: config}
	go func() {
		// Whoever started this holds the other end.
		io.Copy(io.Discard, os.Stdin)
		server.Close()
	}()
	fmt.Println(listener.Addr())
	if err := server.ServeTLS(listener, "", ""); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// Signed by itself, as a kubelet's is by default.
func tlsConfig(authority string) (*tls.Config, error) {
	pem, err := os.ReadFile(authority)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", authority)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "peer"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
		NextProtos:   []string{"http/1.1"},
	}, nil
}

func madeOf() string {
	text := runtime.Version()
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			switch module.Path {
			case "k8s.io/cri-streaming", "k8s.io/streaming", "github.com/moby/spdystream":
				text += fmt.Sprintf(", %s %s", module.Path, module.Version)
			}
		}
	}
	return text
}
