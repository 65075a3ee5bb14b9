package file

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// lock takes the folder's lock, which all that replace or remove objects, in whatever process, hold meanwhile. It waits at most
// as long as ctx. Inside a process the turn is a queue; between processes flock is polled, since it cannot be interrupted.
func (s *Store) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f, err := os.OpenFile(filepath.Join(s.root, reserved, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		<-s.turn
		return nil, err
	}
	if err := flock(ctx, f); err != nil {
		<-s.turn
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		_ = f.Close() // gives the lock back
		<-s.turn
	}, nil
}

// flock polls for an exclusive lock on f until ctx ends, up to every 20 ms.
func flock(ctx context.Context, f *os.File) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		ok, err := tryFlock(f)
		if ok || err != nil {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// tryFlock reports whether it got the exclusive lock on f, which ends with f or with the process.
func tryFlock(f *os.File) (bool, error) {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, syscall.EINTR):
			return false, os.NewSyscallError("flock", err)
		}
	}
}

// settle sweeps what dead processes left, then makes this process's folder for temporary files and holds its lock file, all
// under the folder's lock: nobody can take a folder for dead between its creation and the moment its owner holds it.
func (s *Store) settle() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()

	temps := filepath.Join(s.root, reserved)
	entries, err := os.ReadDir(temps)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := sweep(filepath.Join(temps, e.Name())); err != nil {
				return err
			}
		}
	}
	var name [8]byte
	_, _ = rand.Read(name[:]) // never fails
	s.temp = filepath.Join(temps, hex.EncodeToString(name[:]))
	if err := os.Mkdir(s.temp, 0o755); err != nil {
		return err
	}
	s.alive, err = os.OpenFile(filepath.Join(s.temp, "alive"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	if ok, err := tryFlock(s.alive); err != nil || !ok {
		return errors.Join(err, errors.New("lock of a new file is taken"), s.alive.Close())
	}
	return nil
}

// sweep removes the folder of a process unless that process still lives, that is, holds its lock file.
func sweep(temp string) error {
	f, err := os.OpenFile(filepath.Join(temp, "alive"), os.O_RDWR, 0)
	if err == nil {
		defer func() { _ = f.Close() }()
		ok, err := tryFlock(f)
		if err != nil || !ok {
			return err
		}
	} else if !os.IsNotExist(err) { // another user's: leave it
		return nil
	}
	return os.RemoveAll(temp)
}
