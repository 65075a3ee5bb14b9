package etcd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/leat-stream/leat/metadata/journal/etcd/etcdproc"
)

// certify writes a self-signed certificate for 127.0.0.1, which serves as authority, server and client.
func certify(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	public, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: public}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := certify(t, dir, "right")
	wrongCert, wrongKey := certify(t, dir, "wrong")
	c, err := etcdproc.Start(testContext(t), dir, etcdproc.Options{CA: cert, Cert: cert, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	url := c.URL("tls")

	j, err := Open(testContext(t), url+"?ca="+cert+"&cert="+cert+"&key="+key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	term, r := lead(t, j)
	appendTo(t, term, r, "2")
	wantReplay(t, j, *r)

	for query, reason := range map[string]string{
		"?cert=" + cert + "&key=" + key:                           "certificate signed by unknown authority",
		"?ca=" + wrongCert + "&cert=" + cert + "&key=" + key:      "certificate signed by unknown authority",
		"?ca=" + cert + "&cert=" + wrongCert + "&key=" + wrongKey: "does not answer",
		"?ca=" + cert:                         "does not answer",
		"?ca=" + filepath.Join(dir, "absent"): "absent",
		"?cert=" + cert + "&key=" + wrongKey:  "private key does not match",
	} {
		var err error
		for d := time.Second; d < time.Minute; d *= 4 { // which may be too short to learn why
			short, cancel := contextOf(d)
			_, err = Open(short, url+query)
			cancel()
			if reason == "does not answer" || err == nil || strings.Contains(err.Error(), reason) {
				break
			}
		}
		if err == nil || strings.Contains(err.Error(), "\n") || reason != "does not answer" && !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v", query, err)
		}
	}
}

// TestUserNeedsOnlyThePrefix: a user whose role may read and write below the prefix can do everything; another one nothing.
func TestUserNeedsOnlyThePrefix(t *testing.T) {
	cluster, cfg := own(t, 1)
	root := openTest(t, Config{Endpoints: cluster.Addresses(), Prefix: "/unused"}).client
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := testContext(t)
	must(root.UserAdd(ctx, "root", "secret"))
	must(root.UserGrantRole(ctx, "root", "root"))
	must(root.UserAdd(ctx, "leat", "its secret"))
	must(root.UserAdd(ctx, "other", "its secret"))
	must(root.RoleAdd(ctx, "journal"))
	below := cfg.Prefix + "/"
	must(root.RoleGrantPermission(ctx, "journal", below, clientv3.GetPrefixRangeEnd(below), clientv3.PermissionType(clientv3.PermReadWrite)))
	must(root.UserGrantRole(ctx, "leat", "journal"))
	must(root.AuthEnable(ctx))

	for _, user := range [][3]string{{"leat", "its secret", "compact=false"}, {"other", "its secret", "compact=false"}, {"leat", "wrong", "authentication failed"}, {"", "", "user name is empty"}, {"leat", "", "go together"}} {
		t.Setenv(EnvUser, user[0])
		t.Setenv(EnvPassword, user[1])
		if _, err := open(testContext(t), cfg); err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), user[2]) {
			t.Errorf("%v: %v", user, err)
		}
	}
	cfg.Compact = false
	t.Setenv(EnvPassword, "its secret")
	t.Setenv(EnvUser, "other")
	if _, err := open(testContext(t), cfg); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("a user without the role: %v", err)
	}
	t.Setenv(EnvUser, "leat")
	j := openTest(t, cfg)
	if err := j.MarkBound([16]byte{1}); err != nil {
		t.Fatal(err)
	}
	term, r := lead(t, j)
	appendTo(t, term, r, "2", large("three"))
	for range 3 {
		appendTo(t, term, r, "more")
		if err := r.Publish(testContext(t), j, 1, r.Applied()); err != nil {
			t.Fatal(err)
		}
	}
	// etcd forgets its tokens when it restarts.
	cluster.Members[0].Kill()
	if err := cluster.Members[0].Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	appendTo(t, term, r, "after the restart")
	if err := j.Tip(testContext(t), r.Applied()); err != nil {
		t.Fatal(err)
	}
}
