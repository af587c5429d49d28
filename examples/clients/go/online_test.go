package main

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "example.com/larder-client/gen/larder/v1"
)

// How long an answer takes in Go once its bytes are here: 250 doubles in 10 groups, the schema held.
func BenchmarkAnswer(b *testing.B) {
	schema, row := &pb.Schema{}, &pb.Row{EventTimestampsUs: make([]int64, 10)}
	for i := range uint32(250) {
		schema.Features = append(schema.Features, &pb.Schema_Feature{
			Name: fmt.Sprintf("feature_%d", i), Dtype: pb.Dtype_DTYPE_FLOAT64, Slot: i, Group: i / 25,
		})
		row.Statuses = append(row.Statuses, pb.FeatureStatus_PRESENT)
		row.Float64S = append(row.Float64S, float64(i)+0.5)
	}
	for _, rows := range []int{1, 100} {
		answer := &pb.GetOnlineFeaturesResponse{SchemaId: 1}
		for range rows {
			answer.Rows = append(answer.Rows, row)
		}
		encoded, err := proto.Marshal(answer)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("decode/%dx250", rows), func(b *testing.B) {
			for b.Loop() {
				if err := proto.Unmarshal(encoded, &pb.GetOnlineFeaturesResponse{}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("cells/%dx250", rows), func(b *testing.B) {
			for b.Loop() {
				for _, row := range answer.Rows {
					Cells(schema, row, false)
				}
			}
		})
	}
}
