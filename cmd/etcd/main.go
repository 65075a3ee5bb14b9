// Command etcd is the etcd server that tests, demos and the chaos run start: its embed package and nothing of ours. It is a
// module of its own, so that the product's go.mod stays free of the server. It must never become part of the product: who
// wants a journal in etcd has an etcd.
//
//	etcd CONFIG    runs one member as the YAML file says, in etcd's own words, until SIGTERM or SIGINT
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "etcd:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want one argument, a configuration file; got %d", len(args))
	}
	cfg, err := embed.ConfigFromFile(args[0])
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	defer server.Close()
	select {
	case <-stop:
		return nil
	case err := <-server.Err():
		return err
	case <-server.Server.StopNotify():
		return fmt.Errorf("the server stopped by itself")
	}
}
