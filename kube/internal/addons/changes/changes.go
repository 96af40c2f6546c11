// Package changes owns the loop of whoever brings something in line with objects of the cluster: whole, after every change
// of one of them, and again when that fails. Clusters on one machine are small enough for that.
package changes

import (
	"context"
	"time"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// A burst of changes is one; what failed is done again after a while.
const (
	burst = 50 * time.Millisecond
	again = 2 * time.Second
)

// Follow starts the factory's informers, which are those given, and calls sync once they know everything and from then on
// after changes, until ctx ends.
func Follow(ctx context.Context, name string, factory informers.SharedInformerFactory, sync func(context.Context) error, watched ...cache.SharedIndexInformer) error {
	changed := make(chan struct{}, 1)
	mark := func(any) {
		select {
		case changed <- struct{}{}:
		default: // somebody said so already
		}
	}
	var synced []cache.InformerSynced
	for _, informer := range watched {
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: mark, UpdateFunc: func(_, now any) { mark(now) }, DeleteFunc: mark})
		if err != nil {
			return err
		}
		synced = append(synced, informer.HasSynced)
	}
	ctx, cancel := context.WithCancel(ctx) // the informers end with this function
	defer factory.Shutdown()
	defer cancel()
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return ctx.Err()
	}
	mark(nil)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
		wait(ctx, burst)
		if err := sync(ctx); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "What the cluster's objects ask for could not be done and is tried again", "for", name)
			wait(ctx, again)
			mark(nil)
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
