package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leat-stream/leat/agent"
)

const (
	// healthPatience bounds the question to an agent: less than the 3 s and more that container engines give a health check.
	healthPatience = 2 * time.Second
	// usualHTTP is where an agent has its HTTP pages when told auto, unless another one has that address.
	usualHTTP = "127.0.0.1:9644"
	// answerMax is how much of an agent's answer is told.
	answerMax = 200
)

func healthCommand() *cobra.Command {
	live := false
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the agent of this machine whether it serves; exit 0 if so (for health checks of containers)",
		Long: "Asks /readyz of the agent whose settings these are, or /healthz with --live. Prints the answer and exits 0 if the agent\n" +
			"serves, and says why not in one line and exits 1 if it does not. It takes flags, LEAT_… and --config as the agent does.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, _, err := load(cmd.Flags())
			if err != nil {
				return err
			}
			page := "/readyz"
			if live {
				page = "/healthz"
			}
			answer, err := askHealth(cmd.Context(), o.agent.HTTP, page)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), answer)
			return nil
		},
	}
	addFlags(cmd.Flags())
	cmd.Flags().BoolVar(&live, "live", false, "ask only whether the process lives, not whether it serves")
	return cmd
}

// askHealth asks a page of the agent that was told to have its HTTP pages at setting, and answers its first line.
func askHealth(ctx context.Context, setting, page string) (string, error) {
	address, err := healthAddress(setting)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, healthPatience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+page, nil)
	if err != nil {
		return "", fmt.Errorf("health of %s: %w", address, err)
	}
	// The agent is on this machine: a proxy that the environment names for others must not be asked, nor a redirect followed.
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return "", fmt.Errorf("health: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, answerMax))
	if err != nil {
		return "", fmt.Errorf("health of %s: %w", address, err)
	}
	answer, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("health of %s: %s: %s", address, response.Status, answer)
	}
	return answer, nil
}

// healthAddress is where to ask an agent with this --http: on the loopback address if it listens on all.
func healthAddress(setting string) (string, error) {
	if setting == "" {
		return "", errors.New("health: the agent has no address to ask: --http is empty")
	}
	address, _, err := agent.HTTPAddress(setting)
	if err != nil {
		return "", fmt.Errorf("health: %w", err)
	}
	if address == "auto" {
		return usualHTTP, nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("health: http address %q: %w", setting, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() && ip.To4() != nil {
		host = "127.0.0.1"
	} else if ip != nil && ip.IsUnspecified() {
		host = "::1"
	}
	return net.JoinHostPort(host, port), nil
}
