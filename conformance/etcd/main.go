// Command etcd is upstream's etcd, for the image of that name: upstream's own main package is in a module that is not for importing.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
