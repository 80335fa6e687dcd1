package kms

import (
	"context"

	"github.com/leadglass/leadglass/api/kms"
	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/wire"
)

// Custom key stores (kms-api section 12). They have no ARN: all that a policy
// can say of them it says of "*", and the keys in them are keys like others.

func xksKey(key *keys.Key) *kms.XksKeyConfigurationType {
	if key.XksKeyID == "" {
		return nil
	}
	return &kms.XksKeyConfigurationType{Id: key.XksKeyID}
}

// randomStore: random numbers come from a custom key store of hardware alone,
// and none is served.
func (c *call) randomStore(storeID string) error {
	if storeID == "" {
		return nil
	}
	if _, err := c.keys.StoreOf(c.Account, storeID); err != nil {
		return err
	}
	return unsupported("GenerateRandom is not supported for custom key stores of type %s.", keys.StoreExternal)
}

func createCustomKeyStore(ctx context.Context, c *call, in *kms.CreateCustomKeyStoreInput) (*kms.CreateCustomKeyStoreOutput, error) {
	hardware := in.CloudHsmClusterId != "" || in.TrustAnchorCertificate != "" || in.KeyStorePassword != ""
	external := in.XksProxyUriEndpoint != "" || in.XksProxyUriPath != "" || in.XksProxyAuthenticationCredential != nil ||
		in.XksProxyConnectivity != "" || in.XksProxyVpcEndpointServiceName != "" || in.XksProxyVpcEndpointServiceOwner != ""
	if in.CustomKeyStoreType != kms.CustomKeyStoreTypeExternalKeyStore {
		switch {
		case external:
			return nil, invalid("The XksProxy parameters are valid only for custom key stores of type EXTERNAL_KEY_STORE.")
		case in.CloudHsmClusterId == "" || in.TrustAnchorCertificate == "" || in.KeyStorePassword == "":
			return nil, invalid("CloudHsmClusterId, TrustAnchorCertificate and KeyStorePassword are required for custom key stores of type AWS_CLOUDHSM.")
		}
		return nil, &kms.CloudHsmClusterNotFoundException{Message: "The AWS CloudHSM cluster " + in.CloudHsmClusterId + " does not exist."}
	}
	switch {
	case hardware:
		return nil, invalid("CloudHsmClusterId, TrustAnchorCertificate and KeyStorePassword are valid only for custom key stores of type AWS_CLOUDHSM.")
	case in.XksProxyUriEndpoint == "" || in.XksProxyUriPath == "" || in.XksProxyAuthenticationCredential == nil || in.XksProxyConnectivity == "":
		return nil, invalid("XksProxyUriEndpoint, XksProxyUriPath, XksProxyAuthenticationCredential and XksProxyConnectivity are required for custom key stores of type EXTERNAL_KEY_STORE.")
	}
	if err := connectivity(in.XksProxyConnectivity, in.XksProxyVpcEndpointServiceName, in.XksProxyVpcEndpointServiceOwner); err != nil {
		return nil, err
	}
	s, err := c.keys.CreateStore(ctx, keys.NewStore{
		Account: c.Account, Name: in.CustomKeyStoreName, Endpoint: in.XksProxyUriEndpoint, Path: in.XksProxyUriPath,
		AccessKeyID: in.XksProxyAuthenticationCredential.AccessKeyId, Secret: []byte(in.XksProxyAuthenticationCredential.RawSecretAccessKey),
		Request: c.RequestID,
	})
	if err != nil {
		return nil, err
	}
	return &kms.CreateCustomKeyStoreOutput{CustomKeyStoreId: s.ID}, nil
}

// connectivity refuses what is no public endpoint: there are no VPC endpoint
// services here, so none can be found.
func connectivity(how kms.XksProxyConnectivityType, service, owner string) error {
	switch {
	case how == kms.XksProxyConnectivityTypeVPCEndpointService && service == "":
		return invalid("XksProxyVpcEndpointServiceName is required when XksProxyConnectivity is VPC_ENDPOINT_SERVICE.")
	case how == kms.XksProxyConnectivityTypeVPCEndpointService:
		return &kms.XksProxyVpcEndpointServiceNotFoundException{Message: "The VPC endpoint service " + service + " does not exist."}
	case service != "" || owner != "":
		return invalid("XksProxyVpcEndpointServiceName and XksProxyVpcEndpointServiceOwner are valid only when XksProxyConnectivity is VPC_ENDPOINT_SERVICE.")
	}
	return nil
}

func describeCustomKeyStores(ctx context.Context, c *call, in *kms.DescribeCustomKeyStoresInput) (*kms.DescribeCustomKeyStoresOutput, error) {
	if in.CustomKeyStoreId != "" && in.CustomKeyStoreName != "" {
		return nil, invalid("You can specify CustomKeyStoreId or CustomKeyStoreName, but not both.")
	}
	page, next, err := c.keys.Stores(c.Account, in.CustomKeyStoreId, in.CustomKeyStoreName, in.Marker, limit(in.Limit, 100))
	if err != nil {
		return nil, err
	}
	out := &kms.DescribeCustomKeyStoresOutput{CustomKeyStores: []kms.CustomKeyStoresListEntry{}, NextMarker: next, Truncated: new(next != "")}
	for _, s := range page {
		out.CustomKeyStores = append(out.CustomKeyStores, kms.CustomKeyStoresListEntry{
			CustomKeyStoreId: s.ID, CustomKeyStoreName: s.Name, CustomKeyStoreType: kms.CustomKeyStoreTypeExternalKeyStore, CreationDate: s.Created,
			ConnectionState: kms.ConnectionStateType(s.State), ConnectionErrorCode: kms.ConnectionErrorCodeType(s.ErrorCode),
			XksProxyConfiguration: &kms.XksProxyConfigurationType{
				Connectivity: kms.XksProxyConnectivityTypePublicEndpoint, AccessKeyId: s.AccessKeyID, UriEndpoint: s.Endpoint, UriPath: s.Path,
			},
		})
	}
	return out, nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func updateCustomKeyStore(ctx context.Context, c *call, in *kms.UpdateCustomKeyStoreInput) (*kms.UpdateCustomKeyStoreOutput, error) {
	if in.KeyStorePassword != nil || in.CloudHsmClusterId != nil {
		return nil, invalid("KeyStorePassword and CloudHsmClusterId are valid only for custom key stores of type AWS_CLOUDHSM.")
	}
	var how kms.XksProxyConnectivityType
	if in.XksProxyConnectivity != nil {
		how = *in.XksProxyConnectivity
	}
	if err := connectivity(how, text(in.XksProxyVpcEndpointServiceName), text(in.XksProxyVpcEndpointServiceOwner)); err != nil {
		return nil, err
	}
	change := keys.StoreChange{
		Name: text(in.NewCustomKeyStoreName), Endpoint: text(in.XksProxyUriEndpoint), Path: text(in.XksProxyUriPath), Request: c.RequestID,
	}
	if cred := in.XksProxyAuthenticationCredential; cred != nil {
		change.AccessKeyID, change.Secret = cred.AccessKeyId, []byte(cred.RawSecretAccessKey)
	}
	return &kms.UpdateCustomKeyStoreOutput{}, c.keys.UpdateStore(ctx, c.Account, text(in.CustomKeyStoreId), change)
}

func deleteCustomKeyStore(ctx context.Context, c *call, in *kms.DeleteCustomKeyStoreInput) (*kms.DeleteCustomKeyStoreOutput, error) {
	return &kms.DeleteCustomKeyStoreOutput{}, c.keys.DeleteStore(ctx, c.Account, in.CustomKeyStoreId)
}

func connectCustomKeyStore(ctx context.Context, c *call, in *kms.ConnectCustomKeyStoreInput) (*kms.ConnectCustomKeyStoreOutput, error) {
	return &kms.ConnectCustomKeyStoreOutput{}, c.keys.ConnectStore(ctx, c.Account, in.CustomKeyStoreId)
}

func disconnectCustomKeyStore(ctx context.Context, c *call, in *kms.DisconnectCustomKeyStoreInput) (*kms.DisconnectCustomKeyStoreOutput, error) {
	return &kms.DisconnectCustomKeyStoreOutput{}, c.keys.DisconnectStore(ctx, c.Account, in.CustomKeyStoreId)
}

// storeFault is fault for the refusals that custom key stores have of their
// own; nil for any other.
func storeFault(kind keys.Kind, m string) wire.Modelled {
	switch kind {
	case keys.StoreNotFound:
		return &kms.CustomKeyStoreNotFoundException{Message: m}
	case keys.StoreNameInUse:
		return &kms.CustomKeyStoreNameInUseException{Message: m}
	case keys.StoreInvalidState:
		return &kms.CustomKeyStoreInvalidStateException{Message: m}
	case keys.StoreHasKeys:
		return &kms.CustomKeyStoreHasCMKsException{Message: m}
	case keys.XksKeyInUse:
		return &kms.XksKeyAlreadyInUseException{Message: m}
	case keys.XksKeyInvalid:
		return &kms.XksKeyInvalidConfigurationException{Message: m}
	case keys.XksKeyNotFound:
		return &kms.XksKeyNotFoundException{Message: m}
	case keys.ProxyBadCredential:
		return &kms.XksProxyIncorrectAuthenticationCredentialException{Message: m}
	case keys.ProxyInvalidConfiguration:
		return &kms.XksProxyInvalidConfigurationException{Message: m}
	case keys.ProxyInvalidResponse:
		return &kms.XksProxyInvalidResponseException{Message: m}
	case keys.ProxyURIInUse:
		return &kms.XksProxyUriInUseException{Message: m}
	case keys.ProxyUnreachable:
		return &kms.XksProxyUriUnreachableException{Message: m}
	}
	return nil
}
