from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("agents", "0038_facts_digest"),
        ("agents", "0038_node_report_time_of_its_instance"),
        ("agents", "0038_nodes_file_failures"),
        ("agents", "0039_labels_left_out"),
    ]
    operations = []
