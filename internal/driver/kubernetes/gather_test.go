package kubernetes_test

import _ "k8s.io/client-go/kubernetes/fake"
