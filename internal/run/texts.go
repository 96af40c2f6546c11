package run

import (
	"fmt"
	"time"

	"fairlead.dev/internal/content"
	"fairlead.dev/internal/fault"
	"fairlead.dev/internal/pull"
)

// Codes of Failure.
const (
	codeInaccessible = "InaccessibleImage"
	codeRegistry     = "RegistryErrorResponse"
	codeNode         = "InternalServerError"
	codeWebPull      = "ImagePullFailure"
	codeWebRefused   = "ImagePullUnauthorizedFailure"
	codeWebExited    = "ContainerExited"
	codeWebTimeout   = "ContainerStartTimeout"
)

// words are Azure's texts for one kind of workload.
type words struct{ web bool }

func (o *owner) say() words { return words{o.group.Kind == KindWebApp} }

func (w words) pulling(image string) string {
	if w.web {
		return "Pulling image: " + image
	}
	return fmt.Sprintf("pulling image %q", image)
}

func (w words) pulled(image string, took time.Duration) string {
	if w.web {
		return fmt.Sprintf("Pull Image successful, Time taken: %.3f Seconds", took.Seconds())
	}
	return fmt.Sprintf("Successfully pulled image %q", image)
}

// PullFailedPrefix begins the message of the event of a container group's pull that failed; the image follows, quoted.
const PullFailedPrefix = "Failed to pull image "

func (w words) pullFailed(image, why string) string {
	if w.web {
		return "Image pull failed: Verify docker image configuration and credentials (if using private repository): " + why
	}
	return fmt.Sprintf(PullFailedPrefix+"%q: %s", image, why)
}

func (w words) backOff(image string) string { return fmt.Sprintf("Back-off pulling image %q", image) }

func (w words) started() string {
	if w.web {
		return "Starting container for site"
	}
	return "Started container"
}

func (w words) startFailed(why string) string {
	if w.web {
		return fmt.Sprintf("DockerApiException: Docker API responded with status code=BadRequest, response={\"message\":%q}", why)
	}
	return "Error: Failed to start container, Error response: " + why
}

// refusal puts a failed pull into Azure's words.
func (w words) refusal(group, image string, err error) Failure {
	f := fault.From(err)
	if w.web {
		code := codeWebPull
		if f.Kind == fault.Unauthenticated || f.Kind == fault.Denied {
			code = codeWebRefused
		}
		return Failure{Code: code, Message: "Image pull failed: Verify docker image configuration and credentials (if using private repository): " + f.Message}
	}
	switch {
	case f.Kind == fault.Internal || f.Is(pull.ErrNoSpace):
		return Failure{Code: codeNode, Message: fmt.Sprintf("The image '%s' in container group '%s' could not be made ready: %s.", image, group, f.Message)}
	case f.Kind == fault.Unavailable:
		return Failure{Code: codeRegistry, Message: fmt.Sprintf("An error response is received from the docker registry '%s'. Please retry later.", host(image))}
	}
	return Failure{Code: codeInaccessible, Message: fmt.Sprintf("The image '%s' in container group '%s' is not accessible. Please check the image and registry credential.", image, group)}
}

// host gives the host of an image, as Azure names the registry.
func host(image string) string {
	r, err := content.ParseReference(image)
	if err != nil {
		return image
	}
	return r.Host
}
