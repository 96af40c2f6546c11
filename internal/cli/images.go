package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

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

func newImages(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "images REGISTRY", Short: "List the repositories of a registry", Args: exactly("REGISTRY"),
		RunE: a.action(quick, func(ctx context.Context, c *connection, args []string) error {
			content, err := openContent(ctx, c.Client, args[0], "AcrPull")
			if err != nil {
				return err
			}
			repositories, err := content.Repositories(ctx)
			if err != nil {
				return err
			}
			return a.show(repositories, func(t *terminal.Table) {
				t.Header = []string{"REPOSITORY"}
				for _, r := range repositories {
					t.Add(r)
				}
			})
		}),
	}
}

func openContent(ctx context.Context, c *client.Client, text, role string) (*client.Content, error) {
	registry, err := image.RegistryName(text)
	if err != nil {
		return nil, err
	}
	token, err := registryLogin(ctx, c, registry, role)
	if err != nil {
		return nil, err
	}
	return c.Content(c.Server().LoginServer(registry), token), nil
}

// tagLine is one tag in `tags`.
type tagLine struct {
	Tag       string   `json:"tag"`
	Digest    string   `json:"digest"`
	Size      int64    `json:"size"` // bytes; 0 for an index
	Platforms []string `json:"platforms,omitempty"`
}

func newTags(a *app) *cobra.Command {
	var names bool
	cmd := &cobra.Command{
		Use: "tags REGISTRY REPOSITORY", Short: "List the tags of a repository with their digests", Args: exactly("REGISTRY", "REPOSITORY"),
		RunE: a.action(quick, func(ctx context.Context, c *connection, args []string) error {
			return tags(ctx, c, args[0], args[1], names)
		}),
	}
	cmd.Flags().BoolVar(&names, "names-only", false, "do not look the digests up, which is faster for many tags")
	return cmd
}

func tags(ctx context.Context, c *connection, registry, repository string, namesOnly bool) error {
	content, err := openContent(ctx, c.Client, registry, "AcrPull")
	if err != nil {
		return err
	}
	names, err := content.Tags(ctx, repository)
	if client.NotFound(err) {
		return exit.Errorf(exit.NotFound, "list them with 'fairlead images "+registry+"'", "there is no repository called %q in %s", repository, registry)
	}
	if err != nil {
		return err
	}
	slices.Sort(names)
	lines := make([]tagLine, len(names))
	asking, ctx := errgroup.WithContext(ctx)
	asking.SetLimit(8)
	for i, name := range names {
		lines[i].Tag = name
		if namesOnly {
			continue
		}
		asking.Go(func() error {
			m, err := content.Manifest(ctx, repository, name)
			if client.NotFound(err) {
				return nil // the tag went away meanwhile
			}
			lines[i] = tagLine{Tag: name, Digest: m.Digest, Size: m.Size, Platforms: m.Platforms}
			return err
		})
	}
	if err := asking.Wait(); err != nil {
		return err
	}
	return c.show(lines, func(t *terminal.Table) {
		t.Header = []string{"TAG", "DIGEST", "SIZE", "PLATFORMS"}
		for _, l := range lines {
			size := "-"
			if l.Size > 0 {
				size = terminal.Bytes(l.Size)
			}
			t.Add(l.Tag, l.Digest, size, strings.Join(l.Platforms, " "))
		}
	})
}

func newUntag(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "untag REGISTRY REPOSITORY TAG|DIGEST", Short: "Remove a tag, or a manifest by its digest with all its tags", Args: exactly("REGISTRY", "REPOSITORY", "TAG"),
		RunE: a.action(quick, func(ctx context.Context, c *connection, args []string) error {
			content, err := openContent(ctx, c.Client, args[0], "AcrDelete")
			if err != nil {
				return err
			}
			err = content.Delete(ctx, args[1], args[2])
			if client.NotFound(err) {
				return exit.Errorf(exit.NotFound, "list them with 'fairlead tags "+args[0]+" "+args[1]+"'", "there is no %s in %s", args[2], args[1])
			}
			return err
		}),
	}
}
