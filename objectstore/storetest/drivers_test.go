package storetest_test

import (
	"testing"

	"github.com/leat-stream/leat/objectstore"
	"github.com/leat-stream/leat/objectstore/storetest"
	"github.com/leat-stream/leat/objectstore/storetest/miniotest"
	"github.com/leat-stream/leat/objectstore/storeurl"
)

// run runs the suite over the store that a URL names.
func run(t *testing.T, url string) {
	t.Helper()
	storetest.Run(t, func(t *testing.T) objectstore.Store {
		store, err := storeurl.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		return store
	})
}

func TestMem(t *testing.T) { run(t, "mem:") }

func TestFile(t *testing.T) { run(t, "file://"+t.TempDir()) }

func TestMinIO(t *testing.T) {
	server := miniotest.Start(t)
	t.Run("s3", func(t *testing.T) { run(t, server.S3URL("")) })
	t.Run("s3 below a prefix", func(t *testing.T) { run(t, server.S3URL("some/prefix")) })
	t.Run("minio", func(t *testing.T) { run(t, server.MinioURL("")) })
	t.Run("minio below a prefix", func(t *testing.T) { run(t, server.MinioURL("some/prefix")) })
}
