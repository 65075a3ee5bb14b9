package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// file is one text of the corpus.
type file struct {
	name string
	text []byte
}

// corpus reads texts until it has at least want bytes: the Go toolchain's own sources and tests, and if these are too
// small, the same again under other names.
func corpus(want int64) ([]file, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("find the Go toolchain: %w", err)
	}
	toolchain := strings.TrimSpace(string(out))
	var files []file
	var have int64
	for pass := 1; have < want; pass++ {
		before := have
		for _, dir := range []string{"src", "test"} {
			root := filepath.Join(toolchain, dir)
			err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
				if err != nil || !d.Type().IsRegular() || have >= want {
					return err
				}
				text, err := os.ReadFile(name)
				if err != nil || len(text) == 0 || !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
					return err // what is no text is left out
				}
				files = append(files, file{fmt.Sprintf("pass %d: %s", pass, name), text})
				have += int64(len(text))
				return nil
			})
			if err != nil {
				return nil, fmt.Errorf("read corpus: %w", err)
			}
		}
		if have == before {
			return nil, fmt.Errorf("read corpus: no text below %s", toolchain)
		}
	}
	return files, nil
}

// A record has at least piece bytes of text, unless the file ends, and at most most, however long the last line is.
const (
	piece = 512
	most  = 256 << 10
)

// next cuts the next record off a text: whole lines as far as that goes.
func next(text []byte) (record, rest []byte) {
	if len(text) <= piece {
		return text, nil
	}
	end := len(text)
	if line := bytes.IndexByte(text[piece:], '\n'); line >= 0 {
		end = piece + line + 1
	}
	end = min(end, most)
	return text[:end], text[end:]
}
