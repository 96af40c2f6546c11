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
