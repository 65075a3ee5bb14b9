package peer

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// ErrStranger: whoever is at the other end does not know this cluster's secret.
var ErrStranger = errors.New("not an agent of this cluster")

// keyInfo separates this use of the secret from all others there may ever be.
const keyInfo = "leat peer ed25519 v1"

// identity is what every agent of a cluster proves to every other: that it holds one Ed25519 key, which is derived from the secret.
//
//	key = Ed25519(HKDF-SHA256(secret, salt: cluster id, info: keyInfo))
//
// The certificate is only a wrapping that TLS wants: names and dates in it are not looked at, so that no clock and no
// address can lock agents out.
type identity struct {
	certificate tls.Certificate
	public      ed25519.PublicKey
}

func newIdentity(s Secret) (identity, error) {
	seed, err := hkdf.Key(sha256.New, s.bytes[:], s.cluster[:], keyInfo, ed25519.SeedSize)
	if err != nil {
		return identity{}, fmt.Errorf("derive the peers' key: %w", err)
	}
	key := ed25519.NewKeyFromSeed(seed)
	public := key.Public().(ed25519.PublicKey)
	template := x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "leat agent"},
		NotBefore:    time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280, 4.1.2.5: no expiry
	}
	der, err := x509.CreateCertificate(nil, &template, &template, public, key) // Ed25519 signs without chance
	if err != nil {
		return identity{}, fmt.Errorf("wrap the peers' key: %w", err)
	}
	return identity{certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, public: public}, nil
}

// tls answers the configuration of both ends. The library checks that the other end holds the private key of the certificate
// that it shows (RFC 8446, 4.4.3; what a client and a server sign differs, so neither can be used as a mirror), verify
// checks that this key is the cluster's. Sessions are not resumed: each connection proves itself.
func (id identity) tls() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{id.certificate},
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true, // no chain to an authority: verify takes its place
		VerifyConnection:       id.verify,
		SessionTicketsDisabled: true,
		NextProtos:             []string{"h2"},
	}
}

func (id identity) verify(s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return fmt.Errorf("%w: it shows no certificate", ErrStranger)
	}
	public, ok := s.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok || subtle.ConstantTimeCompare(public, id.public) != 1 {
		return fmt.Errorf("%w: it has another key", ErrStranger)
	}
	return nil
}
