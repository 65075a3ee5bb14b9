package proc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// Root answers the folder of the go.mod that governs the working directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod at or above the working directory")
		}
		dir = filepath.Dir(dir)
	}
}

// Tool answers the binary of a tool that `make tools` builds: .tools/NAME beside go.mod.
func Tool(name string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	binary := filepath.Join(root, ".tools", name)
	if _, err := os.Stat(binary); err != nil {
		return "", fmt.Errorf("no %s at %s: run `make tools`", name, binary)
	}
	return binary, nil
}

// Installed answers the binary of a program of the system's own, also where only root's PATH looks.
func Installed(name string) (string, error) {
	if binary, err := exec.LookPath(name); err == nil {
		return binary, nil
	}
	return exec.LookPath("/usr/sbin/" + name)
}

// reserved keeps a UDP socket for each port that FreeAddress gave away.
var reserved struct {
	mu   sync.Mutex
	held []net.PacketConn // until the end of this program
}

// FreeAddress answers an address of 127.0.0.1 on which nobody listens. Its port lies below those that systems give to outgoing
// connections, so that it is still free after whoever listens there was started again. Nor does FreeAddress give it away
// again, here or in another program, as long as this one lives: it holds the UDP port of the same number, which none of
// the programs started here wants.
func FreeAddress() (string, error) {
	for range 1000 {
		address := fmt.Sprint("127.0.0.1:", 12000+rand.IntN(20000))
		mine, err := net.ListenPacket("udp", address)
		if err != nil {
			continue
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			_ = mine.Close()
			continue
		}
		reserved.mu.Lock()
		reserved.held = append(reserved.held, mine)
		reserved.mu.Unlock()
		return address, l.Close()
	}
	return "", errors.New("no free port of 127.0.0.1")
}

// FillAddresses gives each address that is empty a free one.
func FillAddresses(addresses ...*string) (err error) {
	for _, address := range addresses {
		if *address == "" && err == nil {
			*address, err = FreeAddress()
		}
	}
	return err
}

// Get answers what a URL is answered with; anything but 200 is an error.
func Get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("get %s: %s: %s", url, response.Status, body)
	}
	return body, err
}

// Answers is Get for Await: whether there is an answer.
func Answers(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := Get(ctx, url)
		return err
	}
}
