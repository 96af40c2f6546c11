package cli

import (
	"context"

	"github.com/spf13/cobra"

	"fairlead.dev/client"
	"fairlead.dev/internal/cli/exit"
	"fairlead.dev/internal/cli/image"
	"fairlead.dev/internal/cli/terminal"
)

func newPush(a *app) *cobra.Command {
	var o image.Options
	cmd := &cobra.Command{
		Use: "push SOURCE IMAGE", Short: "Push an image from an OCI layout, a docker archive or a directory of files",
		Long: `Push an image. SOURCE is an OCI layout, the archive that 'docker save' writes, or a directory of files,
which is made into an image of one layer: the same files always give the same digest. IMAGE is
myacr/app:v1, myacr.azurecr.io/app:v1, or begins with the registry's login server.`,
		Example: "  fairlead push ./site myacr/web:v1 --entrypoint /bin/httpd --cmd -f\n  docker save app | cat > app.tar && fairlead push app.tar myacr/app:v1",
		Args:    exactly("SOURCE", "IMAGE"),
		RunE: a.action(endless, func(ctx context.Context, c *connection, args []string) error {
			return push(ctx, c, args[0], args[1], o)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&o.Ref, "source-ref", "", "which image, when SOURCE holds several")
	f.StringArrayVar(&o.Config.Entrypoint, "entrypoint", nil, "of a directory: program to run, and its first arguments; may be repeated")
	f.StringArrayVar(&o.Config.Cmd, "cmd", nil, "of a directory: one further argument; may be repeated")
	f.StringArrayVarP(&o.Config.Env, "env", "e", nil, "of a directory: environment variable NAME=VALUE; may be repeated")
	f.StringVar(&o.Config.WorkingDir, "workdir", "", "of a directory: directory to start in")
	f.StringVar(&o.Config.User, "user", "", "of a directory: user to run as")
	f.StringVar(&o.Config.Platform, "platform", "", "of a directory: os/architecture (default: linux and this machine's)")
	return cmd
}

func push(ctx context.Context, c *connection, path, text string, o image.Options) error {
	target, err := image.ParseTarget(text)
	if err != nil {
		return err
	}
	source, err := image.Open(path, o)
	if err != nil {
		return err
	}
	loginServer := c.Server().LoginServer(target.Registry)
	password, err := registryLogin(ctx, c.Client, target.Registry, "AcrPush")
	if err != nil {
		return err
	}
	progress := c.streams.NewProgress()
	digest, err := image.Push(ctx, source, image.Destination{
		LoginServer: loginServer, Repository: target.Repository, Tag: target.Tag,
		Username: client.RegistryUser, Password: string(password), Transport: c.Transport(),
	}, progress)
	progress.Close()
	if err != nil {
		return err
	}
	pushed := map[string]string{"image": loginServer + "/" + target.Repository + ":" + target.Tag, "digest": digest}
	return c.show(pushed, func(t *terminal.Table) {
		t.Header = []string{"IMAGE", "DIGEST"}
		t.Add(pushed["image"], digest)
	})
}

// registryLogin signs in to a registry and says what is missing when that is refused: the role that suffices.
func registryLogin(ctx context.Context, c *client.Client, registry, role string) (client.Secret, error) {
	token, err := c.RegistryLogin(ctx, c.Server().LoginServer(registry))
	switch exit.CodeOf(err) {
	case exit.Denied:
		return "", exit.Errorf(exit.Denied, "it needs a role: fairlead role assign "+role+" --to "+c.ClientID()+" --on "+registry,
			"%s has no right on the registry %s: %w", c.ClientID(), registry, err)
	case exit.NotFound:
		return "", exit.Errorf(exit.NotFound, "list them with 'fairlead registry list', or create it with 'fairlead registry create "+registry+"'",
			"there is no registry called %q", registry)
	}
	return token, err
}
