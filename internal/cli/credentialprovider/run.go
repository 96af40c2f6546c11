package credentialprovider

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/whole"
)

// Options is what Run needs.
type Options struct {
	ConfigFile string
	In         io.Reader
	Out        io.Writer
	Warn       func(format string, args ...any) // about what does not keep the answer from being right
	Now        func() time.Time
}

// Run answers the one request on In. Its errors say what to do, and exit with code 1, but for a wrong configuration.
func Run(ctx context.Context, o Options) error {
	config, err := ReadConfig(o.ConfigFile)
	if err != nil {
		return exit.Errorf(exit.Usage, "docs/kubernetes/credential-provider.md has an example", "%w", err)
	}
	p, err := New(config)
	if err != nil {
		return exit.Errorf(exit.Usage, "", "%s: %w", o.ConfigFile, err)
	}
	defer p.Close()
	req, err := ReadRequest(o.In)
	if err != nil {
		return exit.Errorf(exit.Failure, "this command is for the kubelet to run; see 'fairlead credential-provider --help'", "%w", err)
	}
	response, err := p.Answer(ctx, req)
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	if noteErr := note(config, req, err, o.Now()); noteErr != nil {
		o.Warn("the last error could not be noted: %s", noteErr)
	}
	if f, ok := errors.AsType[*Failure](err); ok {
		return exit.Errorf(exit.Failure, f.Advice, "%w", err)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(o.Out).Encode(response)
}

// note leaves the failure of a request, or takes away that of an earlier one like it.
func note(c Config, req Request, err error, now time.Time) error {
	host, ok := hostOf(req.Image)
	if c.StateDir == "" || !ok {
		return nil
	}
	if _, ours := c.loginServer(host); !ours {
		return nil
	}
	account := ""
	if readSubject(req, c).assertion != "" {
		account = serviceAccount(req)
	}
	path := filepath.Join(c.StateDir, client.ProviderFailureFile(host, account))
	f, failed := errors.AsType[*Failure](err)
	if !failed {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	return write(path, client.ProviderFailure{
		Image: req.Image, Time: now.UTC().Truncate(time.Second), Step: string(f.Step), URL: f.URL, Status: f.Status,
		Message: f.Message, Hint: f.Advice, ClientID: f.ClientID, ServiceAccount: account,
	})
}

var accountShape = regexp.MustCompile(`^system:serviceaccount:([a-z0-9-]{1,63}):([a-z0-9][a-z0-9.-]{0,252})$`)

// serviceAccount gives "namespace/name" of a request's token, or "unknown".
func serviceAccount(req Request) string {
	found := accountShape.FindStringSubmatch(readClaims(req.ServiceAccountToken).Subject)
	if found == nil {
		return "unknown"
	}
	return found[1] + "/" + found[2]
}

// write leaves the error of a request, in a directory that is made for it.
func write(path string, e client.ProviderFailure) error {
	text, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return whole.Write(path, append(text, '\n'), nil)
}
