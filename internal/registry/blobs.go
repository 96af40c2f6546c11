package registry

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/google/uuid"

	"fairlead.dev/internal/content"
)

// OpenBlob gives the content and the size of a blob that the repository holds; ErrBlobUnknown.
func (v *View) OpenBlob(ctx context.Context, repository string, d content.Digest) (io.ReadSeekCloser, int64, error) {
	repo, err := v.repository(ActionPull, repository)
	if err != nil {
		return nil, 0, err
	}
	size, err := v.service.meta.HoldsBlob(ctx, repo, d)
	if err != nil {
		return nil, 0, err
	}
	body, have, err := v.service.blobs.Open(ctx, d)
	if errors.Is(err, ErrBlobUnknown) {
		return nil, 0, fmt.Errorf("blob %s is recorded in %s but its bytes are gone", d, repository)
	}
	if err == nil && have != size {
		return nil, 0, errors.Join(fmt.Errorf("blob %s has %d bytes, not the %d that are recorded", d, have, size), body.Close())
	}
	return body, size, err
}

// DeleteBlob takes a blob out of the repository; ErrBlobUnknown. Others that hold it keep it.
func (v *View) DeleteBlob(ctx context.Context, repository string, d content.Digest) error {
	repo, err := v.repository(ActionDelete, repository)
	if err != nil {
		return err
	}
	return v.service.meta.UnlinkBlob(ctx, repo, d)
}

// MountBlob puts a blob that the repository from holds into the repository to. The grant must allow reading the one and
// writing the other. ErrBlobUnknown when from does not hold it.
func (v *View) MountBlob(ctx context.Context, from, to string, d content.Digest) error {
	source, err := v.repository(ActionPull, from)
	if err != nil {
		return err
	}
	target, err := v.repository(ActionPush, to)
	if err != nil {
		return err
	}
	return v.service.meta.MountBlob(ctx, source, target, d)
}

// MountAnyBlob puts a blob into the repository to that one of the repositories among holds, or when among is nil any one of
// the registry. The grant must allow reading the one and writing the other. ErrBlobUnknown when none holds it.
func (v *View) MountAnyBlob(ctx context.Context, among []string, to string, d content.Digest) error {
	from, err := v.holder(ctx, among, d)
	if err != nil {
		return err
	}
	return v.MountBlob(ctx, from, to, d)
}

// holder gives the name of a repository that holds a blob.
func (v *View) holder(ctx context.Context, among []string, d content.Digest) (string, error) {
	if !v.grant.Allows(ActionPull) {
		return "", ErrDenied
	}
	if among == nil {
		return v.service.meta.FindBlob(ctx, v.registry.ID, d)
	}
	for _, name := range among {
		repo, err := v.repository(ActionPull, name)
		if err != nil {
			return "", err
		}
		if _, err = v.service.meta.HoldsBlob(ctx, repo, d); !errors.Is(err, ErrBlobUnknown) {
			return name, err
		}
	}
	return "", ErrBlobUnknown
}

// Chunk is a part of a blob that is being uploaded.
type Chunk struct {
	Start int64 // where it begins; AtEnd: behind what is there
	Size  int64 // how many bytes it must have; negative: any number
	Body  io.Reader
}

// PutBlob puts a whole blob into the repository; ErrDigestInvalid, ErrUploadCut, ErrFull. An upload that fails is dropped.
func (v *View) PutBlob(ctx context.Context, repository string, d content.Digest, body io.Reader) error {
	repo, err := v.repository(ActionPush, repository)
	if err != nil {
		return err
	}
	id := uuid.NewString()
	if _, err = v.service.blobs.Append(ctx, id, 0, body); err == nil {
		return v.commit(ctx, Upload{ID: id, Repository: repo}, "", d)
	}
	return errors.Join(err, v.service.blobs.Discard(context.WithoutCancel(ctx), id))
}

// StartUpload begins an upload.
func (v *View) StartUpload(ctx context.Context, repository string) (Upload, error) {
	repo, err := v.repository(ActionPush, repository)
	if err != nil {
		return Upload{}, err
	}
	u := Upload{ID: uuid.NewString(), Repository: repo, Started: v.service.now()}
	return u, v.service.meta.StartUpload(ctx, u)
}

// UploadSize gives how many bytes of an upload have arrived; ErrUploadUnknown.
func (v *View) UploadSize(ctx context.Context, repository, id string) (int64, error) {
	u, err := v.upload(ctx, repository, id)
	if err != nil {
		return 0, err
	}
	return v.service.blobs.Size(ctx, u.ID)
}

func (v *View) upload(ctx context.Context, repository, id string) (Upload, error) {
	repo, err := v.repository(ActionPush, repository)
	if err != nil {
		return Upload{}, err
	}
	return v.service.meta.Upload(ctx, repo, id)
}

// AppendUpload adds a chunk and gives how many bytes have arrived. After ErrUploadCut, ErrSizeInvalid and ErrRangeInvalid
// the upload goes on from what UploadSize tells. ErrUploadUnknown, ErrFull.
func (v *View) AppendUpload(ctx context.Context, repository, id string, c Chunk) (int64, error) {
	u, err := v.upload(ctx, repository, id)
	if err != nil {
		return 0, err
	}
	return v.append(ctx, u, c)
}

func (v *View) append(ctx context.Context, u Upload, c Chunk) (int64, error) {
	if c.Size < 0 {
		return v.service.blobs.Append(ctx, u.ID, c.Start, c.Body)
	}
	body := &exactly{Reader: c.Body, left: c.Size}
	size, err := v.service.blobs.Append(ctx, u.ID, c.Start, body)
	if body.wrong {
		err = ErrSizeInvalid.WithMessage("the chunk does not have the %d bytes that were announced", c.Size)
	}
	return size, err
}

// exactly reads as many bytes as were announced, and notes when there are fewer or more.
type exactly struct {
	io.Reader
	left  int64
	wrong bool
}

func (e *exactly) Read(p []byte) (int, error) {
	if e.left == 0 {
		n, err := e.Reader.Read(make([]byte, 1))
		if e.wrong = n > 0; e.wrong {
			return 0, io.EOF
		}
		return 0, err
	}
	n, err := e.Reader.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	if err == io.EOF {
		e.wrong = e.left > 0
	}
	return n, err
}

// CommitUpload adds a last chunk, which may be empty, and makes the upload the blob d of the repository. When that fails
// the upload is over (ErrDigestInvalid: the bytes are not those of d), but not after the errors of AppendUpload.
func (v *View) CommitUpload(ctx context.Context, repository, id string, c Chunk, d content.Digest) error {
	u, err := v.upload(ctx, repository, id)
	if err != nil {
		return err
	}
	if _, err := v.append(ctx, u, c); err != nil {
		return err
	}
	return v.commit(ctx, u, u.ID, d)
}

// commit makes the bytes visible in the repository only after they are a blob. From here on the client's going away
// changes nothing.
func (v *View) commit(ctx context.Context, u Upload, row string, d content.Digest) error {
	ctx = context.WithoutCancel(ctx)
	size, err := v.service.blobs.Commit(ctx, u.ID, d)
	if err == nil {
		return v.service.meta.LinkBlob(ctx, u.Repository, d, size, row)
	}
	if row != "" {
		return errors.Join(err, v.service.meta.EndUpload(ctx, u.Repository, row))
	}
	return err
}

// CancelUpload drops an upload; ErrUploadUnknown. Its bytes go first: on a full disk its row cannot before.
func (v *View) CancelUpload(ctx context.Context, repository, id string) error {
	u, err := v.upload(ctx, repository, id)
	if err != nil {
		return err
	}
	if err := v.service.blobs.Discard(ctx, u.ID); err != nil {
		return err
	}
	return v.service.meta.EndUpload(ctx, u.Repository, u.ID)
}
