"""The ledger's database: deploying to it, examining it, and an embedded server to try it on."""
