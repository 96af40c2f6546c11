// Package aks speaks with the API servers of managed clusters, which call Fairlead over webhooks, and writes the files that
// make them do so: one webhook decides what principals of the directory may do (authorisation), one gives pods what they
// need to be a managed identity (admission). A call comes from one cluster and says nothing about any other. What is decided
// rests on the core: who may do what on package access, who somebody is on package identity. Running the API server is not
// this package's business, nor are the credentials of people (api/arm).
package aks
