package attest

import "encoding/base64"

// awsRootG1 is the certificate "aws.nitro-enclaves" that AWS publishes for its
// commercial partition. SHA-256 of the DER:
// 641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b.
const awsRootG1 = "" +
	"MIICETCCAZagAwIBAgIRAPkxdWgbkK/hHUbMtOTn+FYwCgYIKoZIzj0EAwMwSTELMAkGA1UEBhMCVVMxDzANBgNVBAoMBkFtYXpvbjEMMAoGA1UE" +
	"CwwDQVdTMRswGQYDVQQDDBJhd3Mubml0cm8tZW5jbGF2ZXMwHhcNMTkxMDI4MTMyODA1WhcNNDkxMDI4MTQyODA1WjBJMQswCQYDVQQGEwJVUzEP" +
	"MA0GA1UECgwGQW1hem9uMQwwCgYDVQQLDANBV1MxGzAZBgNVBAMMEmF3cy5uaXRyby1lbmNsYXZlczB2MBAGByqGSM49AgEGBSuBBAAiA2IABPwC" +
	"VOumCMHzaHDimtqQvkY4MpJzbolL//Zy2YlES1BR5TSksfbb48C8WBoyt7F2Bw7eEtaaP+ohG2bnUs990d0JX28TcPQXCEPZ3BABIeTPYwEoCWZE" +
	"h8l5YoQwTcU/9KNCMEAwDwYDVR0TAQH/BAUwAwEB/zAdBgNVHQ4EFgQUkCW1DdkFR+eWw5b6cp3PmanfS5YwDgYDVR0PAQH/BAQDAgGGMAoGCCqG" +
	"SM49BAMDA2kAMGYCMQCjfy+Rocm9Xue4YnwWmNJVA44fA0P5W2OpYow9OYCVRaEevL8uO1XYru5xtMPWrfMCMQCi85sWBbJwKKXdS6BptQFuZbT7" +
	"3o/gBh1qUxl/nNr12UO8Yfwr6wPLb+6NIwLz3/Y="

// AWSRootG1 is the root of the public cloud's enclaves: documents under it come
// from its hardware. Whether they count at all is the domain's to allow.
func AWSRootG1() Root {
	der, _ := base64.StdEncoding.DecodeString(awsRootG1) // a constant; a test compares its digest
	return Root{DER: der, Name: "aws.nitro-enclaves G1", Tier: Hardware}
}
