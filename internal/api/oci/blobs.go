package oci

import (
	"errors"
	"net/http"
	"strconv"

	"fairlead.dev/internal/registry"
)

// getBlob answers GET and HEAD.
func (h *handler) getBlob(x exchange) error {
	body, _, err := x.view.OpenBlob(x.r.Context(), x.req.repository, x.req.digest)
	if err != nil {
		return err
	}
	defer body.Close()
	x.w.Header().Set("Content-Type", "application/octet-stream")
	return x.serve(x.req.digest, body)
}

func (h *handler) deleteBlob(x exchange) error {
	return x.deleted(x.view.DeleteBlob(x.r.Context(), x.req.repository, x.req.digest))
}

// startUpload answers POST …/blobs/uploads/: it takes a whole blob when the query names its digest, mounts the blob that
// it names when the caller may read it where it lies (or anywhere, when no place is named), and begins an upload
// otherwise. A mount that is not allowed and one of a blob that is not there look alike.
func (h *handler) startUpload(x exchange) error {
	ctx, repository := x.r.Context(), x.req.repository
	if x.req.digest != "" {
		if err := x.view.PutBlob(ctx, repository, x.req.digest, x.r.Body); err != nil {
			return err
		}
		x.created("/v2/"+repository+"/blobs/"+x.req.digest.String(), x.req.digest)
		return nil
	}
	if x.req.mount != "" {
		err := x.mount()
		if err == nil {
			x.created("/v2/"+repository+"/blobs/"+x.req.mount.String(), x.req.mount)
			return nil
		}
		if !errors.Is(err, registry.ErrBlobUnknown) && !errors.Is(err, registry.ErrDenied) {
			return err
		}
	}
	u, err := x.view.StartUpload(ctx, repository)
	if err != nil {
		return err
	}
	x.progress(u.ID, 0)
	x.empty(http.StatusAccepted)
	return nil
}

func (x exchange) mount() error {
	if x.req.from == "" {
		return x.view.MountAnyBlob(x.r.Context(), x.with.readable(), x.req.repository, x.req.mount)
	}
	return x.view.MountBlob(x.r.Context(), x.req.from, x.req.repository, x.req.mount)
}

// progress writes where an upload goes on, and how much of it has arrived. All of an upload's state that a client needs
// is in the path, as some drop the query.
func (x exchange) progress(id string, size int64) {
	h := x.w.Header()
	h.Set("Location", "/v2/"+x.req.repository+"/blobs/uploads/"+id)
	h.Set("Docker-Upload-Uuid", id)
	h.Set("Range", "0-"+strconv.FormatInt(max(size-1, 0), 10))
}

func (h *handler) uploadStatus(x exchange) error {
	size, err := x.view.UploadSize(x.r.Context(), x.req.repository, x.req.upload)
	if err != nil {
		return err
	}
	x.progress(x.req.upload, size)
	x.empty(http.StatusNoContent)
	return nil
}

func (h *handler) appendUpload(x exchange) error {
	chunk, err := chunkOf(x.r)
	if err == nil {
		var size int64
		if size, err = x.view.AppendUpload(x.r.Context(), x.req.repository, x.req.upload, chunk); err == nil {
			x.progress(x.req.upload, size)
			x.empty(http.StatusAccepted)
			return nil
		}
	}
	return x.goOn(err)
}

// goOn adds to an error that leaves the upload alive how much of it has arrived.
func (x exchange) goOn(err error) error {
	if !errors.Is(err, registry.ErrRangeInvalid) && !errors.Is(err, registry.ErrSizeInvalid) && !errors.Is(err, registry.ErrUploadCut) {
		return err
	}
	if size, unknown := x.view.UploadSize(x.r.Context(), x.req.repository, x.req.upload); unknown == nil {
		x.progress(x.req.upload, size)
		return err
	}
	return registry.ErrUploadUnknown
}

// chunkOf gives the request's body with what its headers say about it.
func chunkOf(r *http.Request) (registry.Chunk, error) {
	c := registry.Chunk{Start: registry.AtEnd, Size: -1, Body: r.Body}
	given := r.Header.Get("Content-Range")
	if given == "" {
		return c, nil
	}
	var err error
	if c.Start, c.Size, err = parseContentRange(given); err != nil {
		return c, err
	}
	if r.ContentLength >= 0 && r.ContentLength != c.Size {
		return c, registry.ErrSizeInvalid.WithMessage("the Content-Range has %d bytes, the body has %d", c.Size, r.ContentLength)
	}
	return c, nil
}

func (h *handler) commitUpload(x exchange) error {
	chunk, err := chunkOf(x.r)
	if err == nil {
		err = x.view.CommitUpload(x.r.Context(), x.req.repository, x.req.upload, chunk, x.req.digest)
	}
	if err != nil {
		return x.goOn(err)
	}
	x.created("/v2/"+x.req.repository+"/blobs/"+x.req.digest.String(), x.req.digest)
	return nil
}

func (h *handler) cancelUpload(x exchange) error {
	if err := x.view.CancelUpload(x.r.Context(), x.req.repository, x.req.upload); err != nil {
		return err
	}
	x.empty(http.StatusNoContent)
	return nil
}
