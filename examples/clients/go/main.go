// Prints some features of one entity: main ENTITY FEATURE...
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	pb "example.com/larder-client/gen/larder/v1"
)

func main() {
	entity, features := os.Args[1], os.Args[2:]
	url := strings.TrimPrefix(cmp.Or(os.Getenv("LARDER_URL"), "127.0.0.1:8000"), "http://")
	conn, err := grpc.NewClient(url, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	online := Online{Client: pb.NewFeatureServiceClient(conn), Features: features}
	ctx := metadata.AppendToOutgoingContext(context.Background(), "x-api-key", os.Getenv("LARDER_KEY"))
	rows, err := online.Get(ctx, entity)
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range features {
		fmt.Printf("%s\t%v\t%v\n", name, rows[0][name].Value, rows[0][name].Status)
	}
}
