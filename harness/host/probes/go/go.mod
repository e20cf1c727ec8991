module portcullis.example/go-probe

go 1.24
