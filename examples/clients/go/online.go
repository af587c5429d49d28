package main

import (
	"context"
	"encoding/binary"
	"math"
	"math/big"
	"sync/atomic"
	"time"

	pb "example.com/larder-client/gen/larder/v1"
)

// Cell is one feature of one entity.
type Cell struct {
	Value          any // nil where there is none; a list is a *pb.List, JSON its text, a decimal a *big.Rat
	Status         pb.FeatureStatus
	EventTimestamp time.Time // zero where no row was found
}

// Cells turns a row into name -> value.
func Cells(schema *pb.Schema, row *pb.Row, useDefaults bool) map[string]Cell {
	cells := make(map[string]Cell, len(schema.Features))
	for i, f := range schema.Features {
		cell := Cell{Status: row.Statuses[i]}
		defaulted := useDefaults && f.HasDefault && cell.Status != pb.FeatureStatus_ERROR
		if cell.Status == pb.FeatureStatus_PRESENT || defaulted {
			cell.Value = value(f, row)
		}
		if us := row.EventTimestampsUs[f.Group]; us != math.MinInt64 {
			cell.EventTimestamp = time.UnixMicro(us).UTC()
		}
		cells[f.Name] = cell
	}
	return cells
}

func value(f *pb.Schema_Feature, row *pb.Row) any {
	switch f.Dtype {
	case pb.Dtype_DTYPE_BOOL:
		return row.Bools[f.Slot]
	case pb.Dtype_DTYPE_INT64:
		return row.Int64S[f.Slot]
	case pb.Dtype_DTYPE_FLOAT64:
		return row.Float64S[f.Slot]
	case pb.Dtype_DTYPE_FLOAT32:
		return row.Float32S[f.Slot]
	case pb.Dtype_DTYPE_STRING:
		return row.Strings[f.Slot]
	case pb.Dtype_DTYPE_BYTES:
		return row.BytesValues[f.Slot]
	case pb.Dtype_DTYPE_TIMESTAMP:
		return time.UnixMicro(row.TimestampsUs[f.Slot]).UTC()
	case pb.Dtype_DTYPE_JSON:
		return row.Jsons[f.Slot]
	case pb.Dtype_DTYPE_DECIMAL:
		return decimal(row.Decimals[16*f.Slot:16*f.Slot+16], f.DecimalType.GetScale())
	default:
		return row.Lists[f.Slot]
	}
}

// decimal reads an integer of 128 bits and puts its point where it belongs.
func decimal(bytes []byte, scale uint32) *big.Rat {
	high := big.NewInt(int64(binary.LittleEndian.Uint64(bytes[8:])))
	low := new(big.Int).SetUint64(binary.LittleEndian.Uint64(bytes))
	unscaled := high.Add(high.Lsh(high, 64), low)
	return new(big.Rat).SetFrac(unscaled, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil))
}

// Online is one list of features, asked for again and again: its schema travels once.
type Online struct {
	Client   pb.FeatureServiceClient
	Features []string
	held     atomic.Pointer[pb.GetOnlineFeaturesResponse] // schema and its id only
}

// Get returns the features of each entity.
func (o *Online) Get(ctx context.Context, entityIDs ...string) ([]map[string]Cell, error) {
	held := o.held.Load()
	answer, err := o.Client.GetOnlineFeatures(ctx, &pb.GetOnlineFeaturesRequest{
		EntityIds: entityIDs, Features: o.Features, SchemaId: held.GetSchemaId(),
	})
	if err != nil {
		return nil, err
	}
	if answer.Schema != nil {
		held = &pb.GetOnlineFeaturesResponse{SchemaId: answer.SchemaId, Schema: answer.Schema}
		o.held.Store(held)
	}
	rows := make([]map[string]Cell, len(answer.Rows))
	for i, row := range answer.Rows {
		rows[i] = Cells(held.Schema, row, false)
	}
	return rows, nil
}
