// Package miniotest gives a test a real MinIO of its own. It must never be imported outside of tests.
package miniotest

import (
	"strings"
	"testing"

	"github.com/leat-stream/leat/objectstore/storetest/minioproc"
)

// Start runs a MinIO over a folder of the test's own, sets the test's environment so that both drivers find its key pair
// (so the test cannot be parallel), and stops it when the test ends. The test fails if there is no binary.
func Start(t testing.TB) *minioproc.Server {
	t.Helper()
	server, err := minioproc.Start(t.Context(), t.TempDir(), minioproc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Stop()
		if said := server.Output(); t.Failed() && said != "" {
			t.Logf("MinIO said at last: %s", said)
		}
	})
	for _, setting := range server.Env() {
		name, value, _ := strings.Cut(setting, "=")
		t.Setenv(name, value)
	}
	for _, name := range []string{"AWS_SESSION_TOKEN", "AWS_PROFILE", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"} {
		t.Setenv(name, "")
	}
	return server
}
