//go:build image

package image

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// inside is set in the environment of the test process that has namespaces of its own.
const inside = "LEAT_IMAGE_TEST_INSIDE"

// nameserver is where container engines answer for the names of services.
const nameserver = "127.0.0.11:53"

// TestMain runs the tests in namespaces of their own: in this process if it has them, else in another.
func TestMain(m *testing.M) {
	if os.Getenv(inside) == "" {
		os.Exit(again())
	}
	if err := settle(); err != nil {
		fmt.Fprintln(os.Stderr, "image: prepare the namespaces:", err)
		os.Exit(1)
	}
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// again runs this program in new network and mount namespaces and answers its exit code.
func again() int {
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		return 1
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=yes")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return max(exit.ExitCode(), 1)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "image: these tests need root's rights and a kernel that lets them make network and mount namespaces: %v\n", err)
		return 1
	}
	return 0
}

// settle makes the new namespaces usable: mounts stay in them, the loopback device is up and has an address of a network, names are asked of this process.
func settle() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts private: %w", err)
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("start the loopback device: %w", err)
	}
	dir, err := os.MkdirTemp("", "leat-image-etc")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) // a mounted file lives on
	host, _, _ := net.SplitHostPort(nameserver)
	for file, text := range map[string]string{"/etc/resolv.conf": "nameserver " + host + "\n", "/etc/hosts": "127.0.0.1 localhost\n"} {
		from := filepath.Join(dir, filepath.Base(file))
		if err := os.WriteFile(from, []byte(text), 0o644); err != nil {
			return err
		}
		if err := syscall.Mount(from, file, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("replace %s: %w", file, err)
		}
	}
	return serveNames()
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return err
	}
	// An agent that listens on all addresses tells the others of the machine's first that is not the loopback's.
	alias, err := unix.NewIfreq("lo:1")
	if err != nil {
		return err
	}
	if err := alias.SetInet4Addr(net.IPv4(10, 0, 0, 1).To4()); err != nil {
		return err
	}
	return unix.IoctlIfreq(fd, unix.SIOCSIFADDR, alias)
}

// addresses are the services of compose.yaml that others look for by name. An engine would give each a network of its own; here each has
// an address of the loopback device.
var addresses = map[string]string{
	"minio": "127.0.1.1", "agent-a": "127.0.1.2", "agent-b": "127.0.1.3", "agent-c": "127.0.1.4",
}

// serveNames answers as an engine's nameserver does, until the process ends.
func serveNames() error {
	conn, err := net.ListenPacket("udp", nameserver)
	if err != nil {
		return fmt.Errorf("serve names: %w", err)
	}
	go func() { // ends with the process, as its socket does
		buffer := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if reply, err := answerName(buffer[:n]); err == nil {
				_, _ = conn.WriteTo(reply, from)
			}
		}
	}()
	return nil
}

func answerName(query []byte) ([]byte, error) {
	var message dnsmessage.Message
	if err := message.Unpack(query); err != nil || len(message.Questions) != 1 {
		return nil, errors.New("not a question")
	}
	q := message.Questions[0]
	message.Response, message.RecursionAvailable, message.Additionals = true, true, nil
	ip, known := addresses[strings.TrimSuffix(q.Name.String(), ".")]
	switch {
	case !known:
		message.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		message.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: 1},
			Body:   &dnsmessage.AResource{A: [4]byte(net.ParseIP(ip).To4())},
		}}
	}
	return message.Pack()
}
