package door

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strings"
)

// KnowsCallers: the kernel tells which process opened a connection.
const KnowsCallers = true

// CallerOf answers which of the processes, by its index, opened the connection whose other end is c, or Stranger.
func CallerOf(c net.Conn, pids []int) int {
	socket := socketOf(c.RemoteAddr(), c.LocalAddr())
	if socket == "" {
		return Stranger
	}
	for i, pid := range pids {
		folder := fmt.Sprintf("/proc/%d/fd", pid)
		open, err := os.ReadDir(folder)
		if err != nil { // it has ended, or there was none
			continue
		}
		for _, file := range open {
			if to, err := os.Readlink(folder + "/" + file.Name()); err == nil && to == socket {
				return i
			}
		}
	}
	return Stranger
}

// socketOf names the socket of this machine that is connected so, as /proc/PID/fd does; "" if there is none.
func socketOf(local, remote net.Addr) string {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(table)) {
		// "0: 0100007F:1F90 0100007F:C350 01 tx:rx timer:when retransmits uid timeout inode …"
		columns := strings.Fields(line)
		if len(columns) > 9 && columns[1] == kernelAddress(local) && columns[2] == kernelAddress(remote) {
			return "socket:[" + columns[9] + "]"
		}
	}
	return ""
}

// kernelAddress writes an IPv4 address as /proc/net/tcp does.
func kernelAddress(a net.Addr) string {
	t, ok := a.(*net.TCPAddr)
	if !ok || t.IP.To4() == nil {
		return ""
	}
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(t.IP.To4()), t.Port)
}
