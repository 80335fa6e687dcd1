// Command esdk drives a running Leadglass with the AWS Encryption SDK for Go,
// unmodified: "seal KEYARN IN OUT" and "open KEYARN IN OUT". Used by the
// end-to-end test only.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	mpl "github.com/aws/aws-cryptographic-material-providers-library/releases/go/mpl/awscryptographymaterialproviderssmithygenerated"
	mpltypes "github.com/aws/aws-cryptographic-material-providers-library/releases/go/mpl/awscryptographymaterialproviderssmithygeneratedtypes"
	client "github.com/aws/aws-encryption-sdk/releases/go/encryption-sdk/awscryptographyencryptionsdksmithygenerated"
	esdktypes "github.com/aws/aws-encryption-sdk/releases/go/encryption-sdk/awscryptographyencryptionsdksmithygeneratedtypes"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// multiRegion says whether an ARN is of a multi-Region key, and its Region.
func multiRegion(keyARN string) (region string, is bool) {
	part := strings.Split(keyARN, ":")
	if len(part) != 6 {
		return "", false
	}
	return part[3], strings.HasPrefix(part[5], "key/mrk-")
}

func run(ctx context.Context, args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("usage: esdk seal|open KEYARN IN OUT")
	}
	in, err := os.ReadFile(args[2])
	if err != nil {
		return err
	}
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	materials, err := mpl.NewClient(mpltypes.MaterialProvidersConfig{})
	if err != nil {
		return err
	}
	var keyring mpltypes.IKeyring
	if region, isRelated := multiRegion(args[1]); isRelated {
		cfg.Region = region
		keyring, err = materials.CreateAwsKmsMrkKeyring(ctx, mpltypes.CreateAwsKmsMrkKeyringInput{KmsClient: kms.NewFromConfig(cfg), KmsKeyId: args[1]})
	} else {
		keyring, err = materials.CreateAwsKmsKeyring(ctx, mpltypes.CreateAwsKmsKeyringInput{KmsClient: kms.NewFromConfig(cfg), KmsKeyId: args[1]})
	}
	if err != nil {
		return err
	}
	sdk, err := client.NewClient(esdktypes.AwsEncryptionSdkConfig{})
	if err != nil {
		return err
	}
	var out []byte
	switch args[0] {
	case "seal":
		sealed, err := sdk.Encrypt(ctx, esdktypes.EncryptInput{Plaintext: in, Keyring: keyring, EncryptionContext: map[string]string{"tenant": "a", "ünïcode": "ß"}})
		if err != nil {
			return err
		}
		out = sealed.Ciphertext
	case "open":
		opened, err := sdk.Decrypt(ctx, esdktypes.DecryptInput{Ciphertext: in, Keyring: keyring})
		if err != nil {
			return err
		}
		out = opened.Plaintext
	default:
		return fmt.Errorf("no command %q", args[0])
	}
	return os.WriteFile(args[3], out, 0o600)
}
