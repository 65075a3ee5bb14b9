//go:build !linux

package proc

func startHolder() {}
