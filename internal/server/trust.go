package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// systemTrust is where Debian keeps certificates that an administrator adds.
const systemTrust = "/usr/local/share/ca-certificates"

// InstallTrust puts the authority of a data directory into the system's trust store, or takes it out again.
func InstallTrust(ctx context.Context, data string, install bool) error {
	return installTrust(ctx, data, systemTrust, "update-ca-certificates", install)
}

func installTrust(ctx context.Context, data, dir, update string, install bool) error {
	authority, target := AuthorityFile(data), trustFile(dir, data)
	program, err := exec.LookPath(update)
	if err != nil {
		return fmt.Errorf("%s is not here (Debian package ca-certificates): point clients at %s instead, as 'fairlead env' prints", update, authority)
	}
	if install {
		text, err := os.ReadFile(authority)
		if err != nil {
			return fmt.Errorf("the authority is made at first start ('fairlead up'): %w", err)
		}
		if err := os.WriteFile(target, text, 0o644); err != nil {
			return fmt.Errorf("installing the authority needs root: %w", err)
		}
	} else if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the authority needs root: %w", err)
	}
	out, err := exec.CommandContext(ctx, program).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", update, err, out)
	}
	return nil
}
