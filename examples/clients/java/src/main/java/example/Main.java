package example;

import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.stub.MetadataUtils;
import java.util.List;
import larder.v1.FeatureServiceGrpc;

/** Prints some features of one entity: Main ENTITY FEATURE... */
public final class Main {
  public static void main(String[] args) {
    var url = System.getenv().getOrDefault("LARDER_URL", "127.0.0.1:8000").replaceFirst("^http://", "");
    var key = new Metadata();
    key.put(
        Metadata.Key.of("x-api-key", Metadata.ASCII_STRING_MARSHALLER), System.getenv("LARDER_KEY"));

    ManagedChannel channel = Grpc.newChannelBuilder(url, InsecureChannelCredentials.create()).build();
    try {
      var stub =
          FeatureServiceGrpc.newBlockingStub(channel)
              .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(key));
      var features = List.of(args).subList(1, args.length);
      var row = new Online(stub, features).get(List.of(args[0])).get(0);
      row.forEach((name, cell) -> System.out.println(name + "\t" + cell.value() + "\t" + cell.status()));
    } finally {
      channel.shutdownNow();
    }
  }
}
