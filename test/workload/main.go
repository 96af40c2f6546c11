// Command workload is a program for a pod: with Azure's own library, and nothing that says where it runs but what the pod
// got, it signs in as the pod's identity and lists the tags of a repository. Usage: workload LOGIN-SERVER REPOSITORY
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := run(ctx, os.Args[1], os.Args[2]); err != nil {
		fmt.Println("cannot:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, server, repository string) error {
	credential, err := azidentity.NewWorkloadIdentityCredential(nil)
	if err != nil {
		return err
	}
	token, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"https://containerregistry.azure.net/.default"}})
	if err != nil {
		return err
	}
	// Source: https://github.com/Azure/acr/blob/main/docs/AAD-OAuth.md
	refresh, err := form(ctx, "https://"+server+"/oauth2/exchange", "refresh_token", url.Values{
		"grant_type": {"access_token"}, "service": {server}, "access_token": {token.Token},
	})
	if err != nil {
		return err
	}
	access, err := form(ctx, "https://"+server+"/oauth2/token", "access_token", url.Values{
		"grant_type": {"refresh_token"}, "service": {server}, "scope": {"repository:" + repository + ":pull"}, "refresh_token": {refresh},
	})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+server+"/v2/"+repository+"/tags/list", nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+access)
	body, err := answer(request)
	if err == nil {
		fmt.Printf("%s\n", body)
	}
	return err
}

// form posts a form and gives a field of the answer.
func form(ctx context.Context, to, field string, values url.Values) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(values.Encode()))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	body, err := answer(request)
	if err != nil {
		return "", err
	}
	var fields map[string]any
	if err := json.Unmarshal(body, &fields); err != nil {
		return "", err
	}
	text, _ := fields[field].(string)
	return text, nil
}

func answer(request *http.Request) ([]byte, error) {
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s: %s", request.URL.Path, response.Status, body)
	}
	return body, err
}
